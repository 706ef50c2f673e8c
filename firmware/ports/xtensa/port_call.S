/* port_call(f, argument, top): run f(argument) on the stack that ends at top (call0 ABI). */
    .section .text.port_call, "ax"
    .align 4
    .globl port_call
    .type port_call, @function
port_call:
    addi a4, a4, -16
    s32i a0, a4, 0
    s32i a1, a4, 4
    mov a1, a4
    mov a4, a2
    mov a2, a3
    callx0 a4
    l32i a0, a1, 0
    l32i a1, a1, 4
    ret
