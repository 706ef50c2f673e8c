/* port_call(f, argument, top): run f(argument) on the stack that ends at top. */
    .syntax unified
    .thumb
    .section .text.port_call, "ax"
    .globl port_call
    .type port_call, %function
    .thumb_func
port_call:
    push {r4, lr}
    mov r4, sp
    mov sp, r2
    mov r3, r0
    mov r0, r1
    blx r3
    mov sp, r4
    pop {r4, pc}
