/* load.c - see load.h. One loop over epoll and a heap of timers; each user is a small state machine. */
#include "user.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define PROGRESS_NS  (2 * CLOCK_SECOND)
#define AFTER_FAILED (100 * CLOCK_MS) /* at least, before the user tries again: refusals must not become a storm */
#define N_EVENTS     256

enum stage { RAMP, SETTLE, WINDOW, DRAIN, OVER };

struct engine {
    const struct load_config *config;
    struct load_result *result;
    enum stage stage;
    int64_t started, stage_end, window_began, now;
    int epoll, signals;
    struct user *users;
    int64_t n_users;   /* who have come in */
    int64_t n_waiting; /* requests under way */
    struct timers timers;
    struct timer spawn, progress;
    struct rng rng;
    size_t next_picture;
    uint64_t told_ok; /* at the last progress */
    int64_t told_at, told_us;
};

/* ---- results ---- */

static void note_server(struct load_result *r, const char *name)
{
    size_t i = 0;

    while (i < r->n_servers && strcmp(r->servers[i].name, name) != 0)
        i++;
    if (i == LOAD_MAX_SERVERS)
        i--;
    if (i == r->n_servers)
        snprintf(r->servers[r->n_servers++].name, ANSWER_NAME_MAX, "%s", name);
    r->servers[i].n++;
}

static void note_success(struct engine *e, struct user *u, uint32_t n_objects)
{
    struct load_result *r = e->result;
    int64_t us = (e->now - u->sent_at) / 1000;

    r->n_ok++;
    r->n_objects += n_objects;
    histogram_add(&r->all, us);
    if (e->stage == WINDOW) {
        histogram_add(&r->window, us);
        r->n_window++;
    }
    if (u->answer.served_by[0])
        note_server(r, u->answer.served_by);
}

/* What the server said, fit for a terminal. */
static void describe(char *out, const struct user *u, enum verdict v, const char *why)
{
    int n = v == VERDICT_HTTP ? snprintf(out, LOAD_DETAIL_MAX, "%d ", u->answer.code) : 0;
    const char *text = v >= VERDICT_HTTP && u->answer.body.size ? u->answer.body.data : why;

    snprintf(out + n, (size_t)(LOAD_DETAIL_MAX - n), "%s", text);
    for (char *p = out; *p; p++)
        if ((unsigned char)*p < ' ' || (unsigned char)*p >= 0x7f)
            *p = ' ';
}

static void enter(struct engine *e, enum stage stage);

static void note_failure(struct engine *e, struct user *u, enum verdict v, const char *why)
{
    struct load_result *r = e->result;

    r->n_failed++;
    r->failures[v]++;
    if (v == VERDICT_HTTP)
        r->statuses[u->answer.code]++;
    if (r->first_kind)
        return;
    r->first_kind = v;
    r->first_seconds = (double)(e->now - e->started) / 1e9;
    r->first_users = e->n_users;
    describe(r->first_detail, u, v, why);
    if (e->config->stop_on_failure && e->stage < DRAIN)
        enter(e, DRAIN);
}

/* ---- a user's turn ---- */

static void user_rests(struct engine *e, struct user *u, int64_t for_ns)
{
    u->state = USER_IDLE;
    e->n_waiting--;
    if (e->stage < DRAIN)
        timers_set(&e->timers, &u->timer, e->now + for_ns);
    else
        timers_clear(&e->timers, &u->timer);
}

static void user_failed(struct engine *e, struct user *u, enum verdict v, const char *why)
{
    int64_t pause = e->config->think_ms * CLOCK_MS;

    note_failure(e, u, v, why);
    user_rests(e, u, pause > AFTER_FAILED ? pause : AFTER_FAILED);
}

/* And its connection is of no more use. */
static void user_lost(struct engine *e, struct user *u, enum verdict v, const char *why)
{
    user_close(u);
    user_failed(e, u, v, why);
}

static void user_connects(struct engine *e, struct user *u)
{
    struct status st = user_connect(u, e->config, e->epoll);

    e->result->n_connects++;
    if (st.code)
        user_lost(e, u, VERDICT_CONNECT, st.msg);
}

static void user_answered(struct engine *e, struct user *u)
{
    uint32_t n_objects;
    enum verdict v = verdict_of(&u->answer, u->id, e->config->raw, &n_objects);

    if (!u->answer.keep_alive || u->state != USER_RECEIVING)
        user_close(u);
    u->reused = true;
    if (v != VERDICT_OK) {
        user_failed(e, u, v, "");
        return;
    }
    note_success(e, u, n_objects);
    user_rests(e, u, e->config->think_ms * CLOCK_MS);
}

/* A server may close an idle connection at the moment when the next request is on its way. As HTTP clients do, that is
 * tried once more on a new connection; the time goes on. */
static bool user_resends(struct engine *e, struct user *u)
{
    if (!u->reused || u->answer.begun || u->resent)
        return false;
    user_close(u);
    u->resent = true;
    e->result->n_resent++;
    user_connects(e, u);
    return true;
}

static void user_goes_on(struct engine *e, struct user *u)
{
    struct status st = user_go_on(u);

    e->result->bytes_out += u->bytes_out;
    e->result->bytes_in += u->bytes_in;
    u->bytes_out = u->bytes_in = 0;
    if (!st.code && u->answer.done)
        user_answered(e, u);
    else if (st.code == ST_UNAVAILABLE)
        user_lost(e, u, VERDICT_CONNECT, st.msg);
    else if (st.code == ST_INVALID)
        user_lost(e, u, VERDICT_MALFORMED, st.msg);
    else if (st.code && !user_resends(e, u))
        user_lost(e, u, VERDICT_CLOSED, st.msg);
}

static void user_asks(struct engine *e, struct user *u)
{
    const struct pictures *p = e->config->pictures;

    user_compose(u, e->config, &e->rng, &p->all[e->next_picture++ % p->n]);
    u->sent_at = e->now;
    e->n_waiting++;
    e->result->n_sent++;
    timers_set(&e->timers, &u->timer, e->now + e->config->timeout_ms * CLOCK_MS);
    if (user_is_closed(u)) {
        user_close(u);
        user_connects(e, u);
        return;
    }
    u->state = USER_SENDING;
    user_goes_on(e, u);
}

static void user_is_due(struct engine *e, struct user *u)
{
    if (u->state == USER_IDLE) {
        user_asks(e, u);
    } else if (u->state == USER_CONNECTING) {
        user_lost(e, u, VERDICT_CONNECT, "no connection in time");
    } else {
        user_lost(e, u, VERDICT_TIMEOUT, "no answer in time");
    }
}

/* ---- stages ---- */

static void enter(struct engine *e, enum stage stage)
{
    const struct load_config *c = e->config;

    e->stage = stage;
    e->stage_end = CLOCK_NEVER;
    if (stage == SETTLE) {
        e->stage_end = e->now + c->settle_ms * CLOCK_MS;
    } else if (stage == WINDOW) {
        e->window_began = e->now;
        e->stage_end = e->now + c->window_ms * CLOCK_MS;
    } else if (stage == DRAIN) {
        if (e->window_began)
            e->result->window_seconds = (double)(e->now - e->window_began) / 1e9;
        e->result->seconds = (double)(e->now - e->started) / 1e9;
        timers_clear(&e->timers, &e->spawn);
        for (int64_t i = 0; i < e->n_users; i++)
            if (e->users[i].state == USER_IDLE)
                timers_clear(&e->timers, &e->users[i].timer);
    }
}

static void spawn(struct engine *e)
{
    const struct load_config *c = e->config;
    int64_t wanted = c->users;

    if (c->spawn_rate > 0)
        wanted = c->first_users + (int64_t)(c->spawn_rate * (double)(e->now - e->started) / 1e9);
    wanted = wanted < c->users ? wanted : c->users;
    while (e->n_users < wanted && e->stage == RAMP) {
        struct user *u = &e->users[e->n_users++];

        u->state = USER_IDLE;
        user_asks(e, u);
    }
    if (e->stage != RAMP)
        return;
    if (e->n_users == c->users)
        enter(e, SETTLE);
    else
        timers_set(&e->timers, &e->spawn,
                   e->started + (int64_t)((double)(e->n_users - c->first_users + 1) / c->spawn_rate * 1e9) + 1);
}

static void tell_progress(struct engine *e)
{
    static const char *const names[] = {"ramp", "settle", "window", "drain", "over"};
    const struct load_result *r = e->result;
    uint64_t n = r->n_ok - e->told_ok;
    double seconds = (double)(e->now - e->told_at) / 1e9;
    struct load_progress p = {
        .seconds = (double)(e->now - e->started) / 1e9,
        .stage = names[e->stage],
        .users = e->n_users,
        .rate = seconds > 0 ? (double)n / seconds : 0,
        .mean_ms = n ? (double)(r->all.sum_us - e->told_us) / (double)n / 1e3 : 0,
        .n_ok = r->n_ok,
        .n_failed = r->n_failed,
    };

    e->told_ok = r->n_ok;
    e->told_us = r->all.sum_us;
    e->told_at = e->now;
    e->config->progress(&p);
    timers_set(&e->timers, &e->progress, e->now + PROGRESS_NS);
}

/* ---- the loop ---- */

static void take_signal(struct engine *e)
{
    struct signalfd_siginfo info;

    if (read(e->signals, &info, sizeof info) != (ssize_t)sizeof info)
        return;
    e->result->stopped = true;
    if (e->stage < DRAIN)
        enter(e, DRAIN);
    else
        e->stage = OVER;
}

static void take_events(struct engine *e)
{
    struct epoll_event events[N_EVENTS];
    const struct timer *first = timers_first(&e->timers);
    int64_t due = first && first->due < e->stage_end ? first->due : e->stage_end;
    int64_t ms = due == CLOCK_NEVER ? -1 : (due - clock_now() + CLOCK_MS - 1) / CLOCK_MS;
    int n = epoll_wait(e->epoll, events, N_EVENTS, ms > 60000 ? 60000 : ms > 0 || ms == -1 ? (int)ms : 0);

    e->now = clock_now();
    for (int i = 0; i < n; i++) {
        struct user *u = events[i].data.ptr;

        if (!u)
            take_signal(e);
        else if (u->state >= USER_CONNECTING && u->fd >= 0)
            user_goes_on(e, u);
    }
}

static void take_timers(struct engine *e)
{
    struct timer *t;

    while ((t = timers_first(&e->timers)) && t->due <= e->now) {
        timers_clear(&e->timers, t);
        if (t == &e->spawn)
            spawn(e);
        else if (t == &e->progress)
            tell_progress(e);
        else
            user_is_due(e, (struct user *)((char *)t - offsetof(struct user, timer)));
    }
}

static void run(struct engine *e)
{
    e->started = e->told_at = e->now = clock_now();
    e->stage_end = CLOCK_NEVER;
    if (e->config->progress)
        timers_set(&e->timers, &e->progress, e->now + PROGRESS_NS);
    spawn(e);
    while (e->stage != OVER && !(e->stage == DRAIN && !e->n_waiting)) {
        take_events(e);
        take_timers(e);
        if (e->stage < DRAIN && e->now >= e->stage_end)
            enter(e, e->stage + 1);
    }
    e->result->users = e->n_users;
}

/* ---- setting up ---- */

static struct status raise_descriptors(int64_t users)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)users + 64;

    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= wanted)
        return status_ok();
    limit.rlim_cur = wanted;
    limit.rlim_max = limit.rlim_max > wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit))
        return status_errorf(ST_EXHAUSTED, "%lld users need more open files than ulimit -Hn allows", (long long)users);
    return status_ok();
}

static struct status open_engine(struct engine *e)
{
    struct epoll_event event = {.events = EPOLLIN};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    e->epoll = epoll_create1(EPOLL_CLOEXEC);
    e->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (e->epoll < 0 || e->signals < 0 || epoll_ctl(e->epoll, EPOLL_CTL_ADD, e->signals, &event))
        return status_errno("epoll");
    return status_ok();
}

struct status load_run(struct load_result *out, const struct load_config *config)
{
    struct engine e = {.config = config, .result = out, .epoll = -1, .signals = -1};
    struct status st = raise_descriptors(config->users);

    memset(out, 0, sizeof *out);
    if (!st.code)
        st = open_engine(&e);
    e.users = xcalloc((size_t)config->users, sizeof *e.users);
    for (int64_t i = 0; i < config->users; i++)
        user_init(&e.users[i]);
    timers_init(&e.timers, (size_t)config->users + 2);
    rng_init(&e.rng, (uint64_t)clock_wall());
    if (!st.code)
        run(&e);
    for (int64_t i = 0; i < config->users; i++)
        user_fini(&e.users[i]);
    free(e.users);
    timers_fini(&e.timers);
    if (e.epoll >= 0)
        close(e.epoll);
    if (e.signals >= 0)
        close(e.signals);
    return st;
}
