/* routing.c - who answers a call that names no version: production, or by the canary's share the candidate, until that is
 * found to be worse. Then all calls go to production, until the candidate, production or the parameters change. */
#include "served_private.h"

#include <math.h>

#define JUDGE_EVERY 8 /* calls on the candidate */

/* Every bit of the result depends on every bit of x (Stafford's variant 13 of MurmurHash3's finaliser, as in
 * splitmix64). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* FNV-1a. */
static uint64_t key_hash(const char *key)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (; *key; key++)
        h = (h ^ (unsigned char)*key) * 0x100000001b3u;
    return h;
}

enum purpose { CANARY, SHADOW }; /* so that a key drawn for one is not drawn for the other */

/* Whether a call is among this share of them; the same for the same key, and for another candidate with other keys. */
static bool is_drawn(const struct served_task *t, const struct served_query *q, enum purpose purpose, double percent)
{
    uint64_t version = t->alias[STORE_CANDIDATE]->version, x;

    if (percent <= 0)
        return false;
    if (q->key && q->key[0])
        x = key_hash(q->key) ^ mix(2 * version + purpose);
    else
        x = atomic_fetch_add(&t->served->chance, 0x9e3779b97f4a7c15u);
    return (double)(mix(x) >> 11) * 0x1p-53 * 100 < percent;
}

/* Whether there is a candidate beside production. */
static bool is_contested(const struct served_task *t)
{
    const struct served_model *p = t->alias[STORE_PRODUCTION], *c = t->alias[STORE_CANDIDATE];

    return p && c && c != p;
}

struct served_model *routing_locked(struct served_task *t, const struct served_query *q)
{
    bool canary = is_contested(t) && !t->rolled_back && is_drawn(t, q, CANARY, t->parameters.canary_percent);

    return t->alias[canary ? STORE_CANDIDATE : STORE_PRODUCTION];
}

struct served_model *served_stand_in(const struct served_model *m, const struct served_query *q)
{
    struct served_task *t = m->task;
    struct served_model *p = NULL;

    if (q->version && q->version[0])
        return NULL;
    pthread_mutex_lock(&t->served->mu);
    if (t->alias[STORE_PRODUCTION] != m)
        p = t->alias[STORE_PRODUCTION];
    if (p)
        served_hold(p);
    pthread_mutex_unlock(&t->served->mu);
    return p;
}

/* The candidate, held, when q was answered by production and the shadow's share says so; else NULL. */
static struct served_model *shadow_candidate(const struct served_model *m, const struct served_query *q)
{
    struct served_task *t = m->task;
    struct served_model *c = NULL;

    if (q->version && q->version[0])
        return NULL;
    pthread_mutex_lock(&t->served->mu);
    if (is_contested(t) && t->alias[STORE_PRODUCTION] == m && is_drawn(t, q, SHADOW, t->parameters.shadow_percent)) {
        c = t->alias[STORE_CANDIDATE];
        served_hold(c);
    }
    pthread_mutex_unlock(&t->served->mu);
    return c;
}

void served_shadow(struct served_model *m, const struct served_query *q, char *const *texts, size_t n,
                   const float *probs)
{
    struct served_model *candidate = shadow_candidate(m, q);

    if (candidate)
        shadow_offer(m->task->served->shadow, m, candidate, texts, n, probs);
}

void routing_compared(struct served_model *candidate, const struct served_comparison *more)
{
    struct served_task *t = candidate->task;

    pthread_mutex_lock(&t->served->mu);
    bool current = t->alias[STORE_CANDIDATE] == candidate;
    if (current) {
        t->shadow.texts += more->texts;
        t->shadow.agreed += more->agreed;
        t->shadow.failed += more->failed;
        t->shadow.largest_difference = fmax(t->shadow.largest_difference, more->largest_difference);
        metric_set(t->served->differences, t->shadow.largest_difference, t->name);
    }
    pthread_mutex_unlock(&t->served->mu);
}

void routing_reset_locked(struct served_task *t, enum store_pointer which)
{
    canary_reset(t->canary, CANARY_CANDIDATE);
    if (which == STORE_PRODUCTION)
        canary_reset(t->canary, CANARY_PRODUCTION);
    t->rolled_back = false;
    t->shadow = (struct served_comparison){0};
    metric_set(t->served->rolled_back, 0, t->name);
}

/* ---- what became of the calls ---- */

static void roll_back(struct served_task *t, const struct served_model *m, const struct canary_report *report)
{
    const struct canary_figures *p = &report->arms[CANARY_PRODUCTION], *c = &report->arms[CANARY_CANDIDATE];

    pthread_mutex_lock(&t->served->mu);
    bool now = t->alias[STORE_CANDIDATE] == m && !t->rolled_back;
    if (now) {
        t->rolled_back = true;
        t->verdict = *report;
        metric_set(t->served->rolled_back, 1, t->name);
    }
    pthread_mutex_unlock(&t->served->mu);
    if (now)
        log_error("canary_rolled_back", log_s("task", t->name), log_i("version", (int64_t)m->version),
                  log_s("why", report->why), log_i("calls", (int64_t)c->calls), log_i("failures", (int64_t)c->failures),
                  log_f("mean_s", c->mean_s), log_f("p95_s", c->p95_s), log_i("production_calls", (int64_t)p->calls),
                  log_i("production_failures", (int64_t)p->failures), log_f("production_mean_s", p->mean_s),
                  log_f("production_p95_s", p->p95_s));
}

/* What the caller did wrong says nothing about the model. */
static bool is_evidence(enum code code, bool *failed)
{
    *failed = code == ST_INTERNAL || code == ST_DEADLINE || code == ST_EXHAUSTED || code == ST_DATA_LOSS;
    return *failed || code == ST_OK;
}

void served_observe(struct served_model *m, const struct served_query *q, enum code code, double seconds)
{
    struct served_task *t = m->task;
    bool failed;

    if ((q->version && q->version[0]) || !is_evidence(code, &failed))
        return;
    pthread_mutex_lock(&t->served->mu);
    bool production = t->alias[STORE_PRODUCTION] == m, candidate = !production && t->alias[STORE_CANDIDATE] == m;
    pthread_mutex_unlock(&t->served->mu);
    if (!production && !candidate)
        return; /* replaced meanwhile */
    enum canary_arm arm = candidate ? CANARY_CANDIDATE : CANARY_PRODUCTION;
    canary_observe(t->canary, arm, failed, seconds, clock_now());
    series_add(t->calls[arm][failed], 1);
    if (production || (!failed && atomic_fetch_add(&t->n_observed, 1) % JUDGE_EVERY != 0))
        return;
    const struct canary_report report = canary_judge(t->canary);
    if (report.worse)
        roll_back(t, m, &report);
}

struct status served_check(const struct served_model *m, const float *probs, size_t n)
{
    float sum = 0;
    char text[SERVED_TEXT_MAX];

    for (size_t i = 0; i < n * m->classifier->shape.classes; i++)
        sum += probs[i];
    if (isfinite(sum))
        return status_ok();
    return status_errorf(ST_INTERNAL, "%s version %s answers with what is no number", m->task->name,
                         served_version_text(m->version, text));
}

void routing_task_init(struct served_task *t)
{
    struct metric *calls = metric_counter("bloginfer_routed_calls_total",
                                          "Calls that named no version, by who answered them.", "task,as,result");

    t->canary = canary_new();
    for (int arm = CANARY_PRODUCTION; arm <= CANARY_CANDIDATE; arm++)
        for (int failed = 0; failed <= 1; failed++)
            t->calls[arm][failed] = metric_series(calls, t->name, served_alias_names[arm], failed ? "failed" : "ok");
}

void routing_task_fini(struct served_task *t)
{
    canary_free(t->canary);
}
