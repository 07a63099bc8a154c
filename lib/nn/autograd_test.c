/* autograd_test.c - the gradients of every family and loss against PyTorch's autograd on the same parameters and batch.
 *
 * Writes what it computed into a text file, numbers in hexadecimal, which are exact; autograd_peer.py computes the same
 * with torch in double precision and compares. Ends with its exit code: 0, 1 or 77 (skipped: no torch here). Built
 * twice, with float and with double parameters. */
#include "nn/model_fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void write_numbers(FILE *f, const nn_real *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fprintf(f, " %a", (double)x[i]);
    fputc('\n', f);
}

static void write_row(FILE *f, const struct nn_example *x, size_t n_classes)
{
    fprintf(f, "row %u", x->label);
    for (size_t i = 0; i < x->n_ids; i++)
        fprintf(f, " %u", x->ids[i]);
    fprintf(f, "\nngrams");
    for (size_t i = 0; i < x->n_ngrams; i++)
        fprintf(f, " %u", x->ngrams[i]);
    fprintf(f, "\ntarget");
    write_numbers(f, x->target, x->target ? n_classes : 0);
}

static void write_case(FILE *f, struct fixture *x, const struct nn_objective *o)
{
    nn_real *grad = xcalloc(x->n, sizeof *grad);
    struct nn_tensor t[NN_MAX_TENSORS];
    size_t n = nn_tensors(x->shape, t);
    double loss;

    nn_loss(x->ws, x->params, x->rows, FIXTURE_ROWS, o, 0, grad, &loss, NULL);
    fprintf(f, "case %s %s %a %a\n", nn_family_name(x->shape->family), nn_loss_name(o->loss),
            (double)o->label_smoothing, loss);
    for (size_t r = 0; r < FIXTURE_ROWS; r++)
        write_row(f, &x->rows[r], x->shape->classes);
    for (size_t i = 0; i < n; i++) {
        fprintf(f, "tensor %s %u %u", t[i].name, t[i].dims[0], t[i].dims[1]);
        write_numbers(f, x->params + t[i].offset, t[i].n);
        fprintf(f, "gradient %s %u %u", t[i].name, t[i].dims[0], t[i].dims[1]);
        write_numbers(f, grad + t[i].offset, t[i].n);
    }
    fprintf(f, "end\n");
    free(grad);
}

static void write_cases(FILE *f)
{
    static const struct nn_objective objectives[] = {{0}, {.label_smoothing = 0.1f}, {.loss = NN_HINGE}};

    for (size_t i = 0; i < COUNT_OF(fixture_shapes); i++)
        for (size_t k = 0; k < COUNT_OF(objectives); k++) {
            struct fixture *x = fixture_new(&fixture_shapes[i]);
            write_case(f, x, &objectives[k]);
            fixture_free(x);
        }
}

int main(void)
{
    char path[] = "/tmp/bloginfer-autograd-XXXXXX", *command;
    int fd = mkstemp(path), status = 1;
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");

    if (!f) {
        perror(path);
        return 1;
    }
    write_cases(f);
    fclose(f);
    command = xasprintf("/usr/bin/python3 %s/lib/nn/autograd_peer.py %s", BLOGINFER_SOURCE_DIR, path);
    status = system(command);
    free(command);
    unlink(path);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
