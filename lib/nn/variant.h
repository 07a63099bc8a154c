/* variant.h - what the sources share that are compiled once per instruction set: names. NN_VARIANT(nn_kernels)
 * is nn_kernels_avx2 where the build says -DNN_ISA=avx2. Private to lib/nn. */
#ifndef NN_VARIANT_H
#define NN_VARIANT_H

#define NN_PASTE_(a, b)  a##_##b
#define NN_PASTE(a, b)   NN_PASTE_(a, b)
#define NN_VARIANT(name) NN_PASTE(name, NN_ISA)
#define NN_TEXT_(a)      #a
#define NN_TEXT(a)       NN_TEXT_(a)

#endif
