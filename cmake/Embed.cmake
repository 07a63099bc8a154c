# Writes OUT, an assembler file that holds the bytes of IN as NAME .. NAME_end, and a NUL after them.
file(WRITE ${OUT} "    .section .rodata
    .global ${NAME}, ${NAME}_end
    .balign 16
${NAME}:
    .incbin \"${IN}\"
${NAME}_end:
    .byte 0
    .section .note.GNU-stack,\"\",%progbits
")
