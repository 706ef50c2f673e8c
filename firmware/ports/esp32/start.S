/* Entry from the mask ROM, which has loaded this code into IRAM as if it were a second-stage boot loader.
   The ROM uses register windows; our code does not (call0), so window checks are switched off with the
   interrupts: PS = interrupt level 15, user mode, WOE 0. */
    .section .start, "ax"
    .align 4
    .literal_position
    .globl _start
_start:
    movi a2, 0
    wsr a2, intenable
    movi a2, 0x2f
    wsr a2, ps
    rsync
    movi a1, sec_harness_stack_top
    movi a0, sec_chip_init
    callx0 a0
    movi a0, sec_startup
    callx0 a0
1:  j 1b
