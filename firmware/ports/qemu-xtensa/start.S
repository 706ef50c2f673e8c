/* QEMU -M sim -cpu lx106 starts at the core's reset vector, not at the ELF's entry. */
    .section .reset, "ax"
    .align 4
reset:
    j 1f
    .align 4
    .literal_position
1:  movi a0, _start
    jx a0

    .macro stop                 /* any exception ends the run with status 99 */
    movi a2, 1
    movi a3, 99
    .byte 0x00, 0x51, 0x00      /* simcall */
    .endm

    .section .vectors, "ax"     /* offsets of the core's kernel, user and double exception vectors */
    .align 4
    .org 0x30
    stop
    .org 0x50
    stop
    .org 0x70
    stop

    .section .start, "ax"
    .align 4
    .literal_position
    .globl _start
_start:
    movi a1, sec_harness_stack_top
    movi a0, sec_startup
    callx0 a0
1:  j 1b
