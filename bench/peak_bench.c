/* peak_bench.c - the core's limits (peak.h), for bench/detection/run.py and for people.
 *
 *     peak_bench        lines of key=value: peak kind=fp32 isa=avx2 gops=105.3 */
#include "nn/nn.h"
#include "peak.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    struct peak all[PEAK_MAX];

    (void)argc;
    nn_setup_blas(argv);
    size_t n = peak_registers(all);
    for (size_t i = 0; i < n; i++)
        printf("peak kind=%s isa=%s gops=%.1f\n", all[i].kind, all[i].isa, all[i].gops);
    printf("peak kind=sgemm isa=%s gops=%.1f\n", nn_blas_core(), peak_sgemm());
    return 0;
}
