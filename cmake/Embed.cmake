# Writes OUT, an assembler file that holds the bytes of IN as bloginfer_descriptors .. bloginfer_descriptors_end.
file(WRITE ${OUT} "    .section .rodata
    .global bloginfer_descriptors, bloginfer_descriptors_end
    .balign 16
bloginfer_descriptors:
    .incbin \"${IN}\"
bloginfer_descriptors_end:
    .byte 0
    .section .note.GNU-stack,\"\",%progbits
")
