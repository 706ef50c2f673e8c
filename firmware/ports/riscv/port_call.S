/* port_call(f, argument, top): run f(argument) on the stack that ends at top. */
    .section .text.port_call, "ax"
    .globl port_call
    .type port_call, @function
port_call:
    addi a2, a2, -16
    sw ra, 12(a2)
    sw sp, 8(a2)
    mv sp, a2
    mv t0, a0
    mv a0, a1
    jalr t0
    lw ra, 12(sp)
    lw sp, 8(sp)
    ret
