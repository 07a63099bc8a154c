/* trial.c - engines on trial: the same invented picture through each of them and through darknet. */
#include "trial.h"

#include "base/isa.h"
#include "nn/nn.h"

#include <math.h>
#include <string.h>

#define N_TIMED 2
#define N_AGAIN 4 /* passes of a second look */

/* The best so far becomes that of n more. */
static void time_forward(struct engine *e, const struct reference *reference, int n, struct trial *result)
{
    for (int i = 0; i < n; i++) {
        int64_t start = clock_thread();
        engine_forward(e, reference->picture);
        result->forward_seconds = fmin(result->forward_seconds, clock_thread_seconds(start));
    }
}

static struct status compare(const struct engine *e, const struct network *net, const struct reference *reference,
                             struct trial *result)
{
    double largest, rms, tolerance = e->kind->tolerance > 0 ? e->kind->tolerance : TRIAL_TOLERANCE;

    if (!reference_compare(reference, e, net->cfg, &largest, &rms))
        return status_errorf(ST_INVALID, "the network's outputs are not finite");
    result->error = e->kind->tolerance > 0 ? rms : largest;
    if (result->error > tolerance)
        return status_errorf(ST_INVALID, "the engine's outputs differ from darknet's by %.2g", result->error);
    return status_ok();
}

struct status trial_engine(struct engine **out, const struct engine_kind *kind, const struct network *net,
                           const struct reference *reference, struct trial *result)
{
    struct engine *e;

    *result = (struct trial){.forward_seconds = INFINITY, .compared = reference->source != REFERENCE_NONE};
    struct status st = kind->create(&e, net);
    if (st.code)
        return st;
    time_forward(e, reference, N_TIMED, result);
    st = compare(e, net, reference, result);
    if (st.code)
        engine_free(e);
    else
        *out = e;
    return st;
}

struct status trial_run(const struct engine_kind *kind, const struct network *net, struct trial *result)
{
    struct reference reference;
    struct engine *e;
    struct status st = reference_get(&reference, net);

    if (st.code)
        return st;
    st = trial_engine(&e, kind, net, &reference, result);
    if (!st.code)
        engine_free(e);
    reference_fini(&reference);
    return st;
}

/* ---- the choice ---- */

static void log_trial(const char *model, const struct engine_kind *kind, const struct trial *t,
                      const struct reference *reference, struct status st)
{
    static const char *const sources[] = {"nothing", "known outputs", "darknet"};

    if (st.code == ST_UNAVAILABLE)
        log_info("engine_unavailable", log_s("model", model), log_s("engine", kind->name), log_s("reason", st.msg));
    else if (st.code)
        log_error("engine_refused", log_s("model", model), log_s("engine", kind->name), log_s("reason", st.msg));
    else
        log_info("engine_tried", log_s("model", model), log_s("engine", kind->name),
                 log_f("forward_ms", 1e3 * t->forward_seconds), log_s("compared_with", sources[reference->source]),
                 log_f("error", t->error), log_s("blas", nn_blas_core()), log_s("isa", nn_kernel_isa()));
}

struct choice {
    struct engine *engine;          /* the one tried last; only one at a time, for the sake of memory */
    const struct engine_kind *kind; /* the best so far; NULL: none passed */
    struct trial trial;
    struct status last; /* why a kind was refused */
};

/* A neighbour on the same core makes a pass look twice as long as it is. The kinds come in the order in which they mostly
 * get faster, so one that looks slower than those before it gets a second look, as long as it is there. */
static void try_kind(struct choice *c, const struct engine_kind *kind, const struct network *net,
                     const struct reference *reference, const char *model)
{
    struct trial t;

    engine_free(c->engine);
    c->engine = NULL;
    struct status st = trial_engine(&c->engine, kind, net, reference, &t);
    if (!st.code && c->kind && t.forward_seconds >= c->trial.forward_seconds)
        time_forward(c->engine, reference, N_AGAIN, &t);
    log_trial(model, kind, &t, reference, st);
    if (st.code) {
        c->last = st;
    } else if (!c->kind || t.forward_seconds < c->trial.forward_seconds) {
        c->kind = kind;
        c->trial = t;
    }
}

/* Of the two kinds of integers only one pays off on a CPU: bytes where they have instructions of their own. */
static bool is_promising(const struct engine_kind *kind)
{
    bool bytes = nn_isa() == ISA_AVX512VNNI || nn_isa() == ISA_AVX2VNNI;

    return (kind != &engine_int8 || bytes) && (kind != &engine_int16 || !bytes);
}

static bool is_meant(const struct engine_kind *kind, const char *name, const char *precision)
{
    if (precision && strcmp(precision, kind->precision) != 0)
        return false;
    return strcmp(name, kind->name) == 0 || (strcmp(name, "auto") == 0 && (precision || is_promising(kind)));
}

struct status trial_choose(struct engine **out, struct trial *result, const char *name, const char *precision,
                           struct network *net, const char *model)
{
    struct reference reference;
    struct choice c = {
        .last = status_errorf(ST_INVALID, "no engine %s with precision %s", name, precision ? precision : "auto")};
    struct status st = reference_get(&reference, net);

    if (st.code)
        return st;
    if (strcmp(name, engine_darknet.name) != 0 && reference.source == REFERENCE_KNOWN)
        network_drop_file(net); /* before more memory is asked for */
    for (int fallback = 0; fallback < 2 && !c.kind; fallback++)
        for (size_t i = 0; engine_kind_at(i); i++) {
            const struct engine_kind *kind = engine_kind_at(i);
            if (kind->fallback == (fallback == 1) && is_meant(kind, name, precision))
                try_kind(&c, kind, net, &reference, model);
        }
    reference_fini(&reference);
    if (!c.kind)
        return c.last;
    if (!c.engine || c.engine->kind != c.kind) {
        engine_free(c.engine);
        st = c.kind->create(&c.engine, net);
        if (st.code)
            return st;
    }
    if (c.kind != &engine_darknet)
        network_drop_file(net);
    *out = c.engine;
    *result = c.trial;
    return status_ok();
}
