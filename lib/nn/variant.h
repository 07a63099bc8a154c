/* variant.h - what the sources share that are compiled once per instruction set: names (NN_VARIANT(nn_kernels) is
 * nn_kernels_avx2 where the build says -DNN_ISA=avx2) and hints to the compiler. Private to lib/nn. */
#ifndef NN_VARIANT_H
#define NN_VARIANT_H

#define NN_PASTE_(a, b)  a##_##b
#define NN_PASTE(a, b)   NN_PASTE_(a, b)
#define NN_VARIANT(name) NN_PASTE(name, NN_ISA)
#define NN_TEXT_(a)      #a
#define NN_TEXT(a)       NN_TEXT_(a)

/* Before a loop of constant bounds, at most 12 passes; before one whose passes do not touch each other's elements. */
#ifdef __clang__
#define NN_UNROLLED    _Pragma("clang loop unroll(full)")
#define NN_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define NN_UNROLLED    _Pragma("GCC unroll 12")
#define NN_INDEPENDENT _Pragma("GCC ivdep")
#endif

#endif
