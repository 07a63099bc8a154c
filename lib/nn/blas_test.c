/* blas_test.c - the program starts itself in environments that mislead OpenBLAS and looks at what nn_setup_blas() made
 * of them. */
#include "nn/kernels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct seen {
    char core[32], chosen[32]; /* OpenBLAS's kernels; OPENBLAS_CORETYPE */
    int own_threads;           /* threads that OpenBLAS started in the end */
    char word[32];             /* argv[1] */
    int guarded;
};

/* The child: after nn_setup_blas(), on the second pass if there was one. */
static int report(char **argv)
{
    nn_setup_blas(argv);
    const char *chosen = getenv("OPENBLAS_CORETYPE"), *threads = getenv("OPENBLAS_NUM_THREADS");
    printf("%s %s %s %s %d\n", nn_blas_core(), chosen ? chosen : "-", threads ? threads : "-", argv[1],
           getenv("BLOGINFER_BLAS_EXEC") != NULL);
    return 0;
}

/* Runs this program with a name that no PATH knows. */
static struct seen start(const char *coretype, const char *threads)
{
    struct seen s = {0};
    char line[256] = "";
    int ends[2], status;

    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        unsetenv("OPENBLAS_CORETYPE");
        unsetenv("OPENBLAS_NUM_THREADS");
        unsetenv("OMP_NUM_THREADS");
        if (coretype)
            setenv("OPENBLAS_CORETYPE", coretype, 1);
        if (threads)
            setenv("OPENBLAS_NUM_THREADS", threads, 1);
        execv("/proc/self/exe", (char *[]){"not-a-program", "report", NULL});
        _exit(127);
    }
    close(ends[1]);
    FILE *f = fdopen(ends[0], "r");
    assert_non_null(fgets(line, sizeof line, f));
    fclose(f);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(sscanf(line, "%31s %31s %d %31s %d", s.core, s.chosen, &s.own_threads, s.word, &s.guarded), 5);
    assert_string_equal(s.word, "report");
    assert_int_equal(s.guarded, 0);
    return s;
}

static bool is_avx512(const char *core)
{
    return strcasecmp(core, "SkylakeX") == 0 || strcasecmp(core, "Cooperlake") == 0 ||
           strcasecmp(core, "SapphireRapids") == 0;
}

static bool is_avx2(const char *core)
{
    return strcasecmp(core, "Haswell") == 0 || strcasecmp(core, "Zen") == 0 || strcasecmp(core, "Excavator") == 0;
}

static void check_core_fits(const char *core)
{
    if (nn_kernels_find(ISA_AVX512))
        assert_true(is_avx512(core));
    else if (nn_kernels_find(ISA_AVX2))
        assert_true(is_avx2(core));
    else
        assert_false(is_avx512(core) || is_avx2(core));
}

static void test_core_fits_the_cpu(void **state)
{
    (void)state;
    check_core_fits(start(NULL, "1").core);
}

static void test_blas_threads_are_gone(void **state)
{
    (void)state;
    struct seen s = start(NULL, "2"); /* more than one, even where there is but one CPU */
    assert_int_equal(s.own_threads, 1);
    check_core_fits(s.core);
}

static void test_a_choice_that_runs_stays(void **state)
{
    (void)state;
    if (!nn_kernels_find(ISA_AVX2))
        skip();
    struct seen s = start("Haswell", "1");
    assert_string_equal(s.core, "Haswell");
    assert_string_equal(s.chosen, "Haswell");
}

static void test_a_choice_that_cannot_run_goes(void **state)
{
    (void)state;
    if (nn_kernels_find(ISA_AVX512))
        skip();
    check_core_fits(start("SkylakeX", "1").core);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_core_fits_the_cpu),
        cmocka_unit_test(test_blas_threads_are_gone),
        cmocka_unit_test(test_a_choice_that_runs_stays),
        cmocka_unit_test(test_a_choice_that_cannot_run_goes),
    };

    if (argc > 1)
        return report(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
