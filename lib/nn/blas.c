/* blas.c - makes OpenBLAS fit the CPU and the process.
 *
 * OpenBLAS decides twice while it is loaded, before main(): which kernels to use (0.3.21 takes a CPU it does not know
 * for a "Prescott", several times slower) and how many threads to start. Those threads do not block signals, so a
 * SIGTERM would end the process past its orderly stop; they also burn a CPU quota. Both are read from the environment,
 * so the only cure is to set it and to execute the program again. */
#include "nn/nn.h"

#include <cblas.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define GUARD "BLOGINFER_BLAS_EXEC" /* set across the exec, so that it happens once */

enum core_rank { CORE_BASIC, CORE_AVX2, CORE_AVX512 };

static enum core_rank rank_of_cpu(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
        return CORE_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return CORE_AVX2;
#endif
    return CORE_BASIC;
}

static enum core_rank rank_of_core(const char *core)
{
    static const struct {
        const char *name;
        enum core_rank rank;
    } cores[] = {
        {"Haswell", CORE_AVX2},    {"Zen", CORE_AVX2},          {"Excavator", CORE_AVX2},
        {"SkylakeX", CORE_AVX512}, {"Cooperlake", CORE_AVX512}, {"SapphireRapids", CORE_AVX512},
    };

    for (size_t i = 0; i < COUNT_OF(cores); i++) {
        if (strcasecmp(core, cores[i].name) == 0)
            return cores[i].rank;
    }
    return CORE_BASIC;
}

/* The OPENBLAS_CORETYPE to set, or NULL. One that a person chose stays unless this CPU cannot run it. */
static const char *core_to_set(void)
{
    static const char *const best[] = {[CORE_BASIC] = "Prescott", [CORE_AVX2] = "Haswell", [CORE_AVX512] = "SkylakeX"};
    const char *chosen = getenv("OPENBLAS_CORETYPE");
    enum core_rank cpu = rank_of_cpu(), core = rank_of_core(nn_blas_core());

    if (core == cpu || (core < cpu && chosen && *chosen))
        return NULL;
    return best[cpu];
}

/* Whether loading OpenBLAS has started threads; nothing else has, so early in main(). */
static bool has_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    size_t n = 0;

    if (!tasks)
        return false;
    for (struct dirent *d; (d = readdir(tasks));)
        n += d->d_name[0] != '.';
    closedir(tasks);
    return n > 1;
}

void nn_setup_blas(char **argv)
{
    bool again = getenv(GUARD) != NULL, threads = has_threads();
    const char *core = core_to_set();

    unsetenv(GUARD); /* children decide for themselves */
    openblas_set_num_threads(1);
    if (again || (!core && !threads))
        return;
    if (core)
        setenv("OPENBLAS_CORETYPE", core, 1);
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    setenv(GUARD, "1", 1);
    execv("/proc/self/exe", argv);
    unsetenv(GUARD); /* no /proc: slower, but right */
    log_warn("blas_exec_failed", log_s("error", strerror(errno)));
}

const char *nn_blas_core(void)
{
    return openblas_get_corename();
}
