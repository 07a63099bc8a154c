/* peak.h - what one core can do at most, the limit beside which the benchmarks stand: billions of operations a second,
 * two a multiply-add, by the thread's CPU time, the best of several short rounds. One thread at a time. */
#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H

#include <stddef.h>

#define PEAK_SGEMM 512 /* side of the matrices of peak_sgemm() */
#define PEAK_MAX   8

struct peak {
    const char *kind; /* "fp32", "int16", "int8", "bf16": the numbers */
    const char *isa;  /* the instructions */
    double gops;
};

/* From register to register, for each kind of number that this CPU has instructions for, the slower first; returns how
 * many. out: (PEAK_MAX,). None on other CPUs than x86-64. */
size_t peak_registers(struct peak *out);

double peak_fp32(void);  /* the best of these for fp32; peak_sgemm() where there is none */
double peak_sgemm(void); /* cblas_sgemm of a square product */

#endif
