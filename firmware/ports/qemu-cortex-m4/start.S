    .syntax unified
    .thumb
    .section .start, "ax"
    .word sec_harness_stack_top
    .word _start
    .rept 14
    .word fault
    .endr

    .globl _start
    .type _start, %function
    .thumb_func
_start:
    ldr r0, =0xE000ED88         /* CPACR: full access to the floating-point unit */
    ldr r1, [r0]
    orr r1, r1, #0xF00000
    str r1, [r0]
    dsb
    isb
    b sec_startup

    .type fault, %function
    .thumb_func
fault:                          /* any exception ends the run with status 99 */
    ldr r1, =fault_status
    movs r0, #0x20
    bkpt 0xab
    b fault
    .balign 4
fault_status:
    .word 0x20026, 99
    .ltorg
