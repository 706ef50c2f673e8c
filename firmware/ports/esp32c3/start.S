/* Direct boot: two magic words at flash 0, then the ROM maps flash at 0x42000000 and jumps behind them. */
    .section .start, "ax"
    .option push
    .option arch, +zicsr
    .option norvc
    .word 0xAEDB041D, 0xAEDB041D
    .globl _start
_start:
    csrci mstatus, 8            /* interrupts off */
    la sp, sec_harness_stack_top
    la t0, trap
    csrw mtvec, t0
    call sec_chip_init
    j sec_startup
    .balign 256                 /* mtvec of this core; with interrupts off only entry 0, exceptions, is taken */
trap:
    j trap
    .option pop
