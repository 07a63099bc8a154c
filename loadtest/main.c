/* main.c - bloginfer-load: settings, the address, the pictures; one run; its report. */
#include "report.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define MADE_PICTURES 8
#define HOST_MAX      256
#define PATH_MAX_SIZE 1024

struct settings {
    char *url, *images, *data, *body, *json;
    int64_t users, first_users, settle_ms, window_ms, think_ms, timeout_ms;
    double spawn_rate;
    bool stop_on_failure, quiet;
};

#define AT(member) offsetof(struct settings, member)
static const struct config_option options[] = {
    {"url", CONFIG_STR, AT(url), "http://127.0.0.1:8080/api/object_detection", "where to send the pictures; http only"},
    {"images", CONFIG_STR, AT(images), "",
     "folder of pictures; without it DATA/images/inputfolder, and without that a few made ones"},
    {"data", CONFIG_STR, AT(data), "", "a folder of own data"},
    {"body", CONFIG_ENUM, AT(body), "json", "JSON with base64, or the file as it is", .words = "json|raw"},
    {"users", CONFIG_INT, AT(users), "10", "concurrent users, a connection each", 1, 60000},
    {"first-users", CONFIG_INT, AT(first_users), "0", "of them are there at once", 0, 60000},
    {"spawn-rate", CONFIG_FLOAT, AT(spawn_rate), "0", "the others come in, so many a second; 0: at once", 0, 100000},
    {"settle-ms", CONFIG_INT, AT(settle_ms), "0", "between the last user and the window", 0, 86400000},
    {"window-ms", CONFIG_INT, AT(window_ms), "10000", "how long to measure, once all users are there", 1, 86400000},
    {"think-ms", CONFIG_INT, AT(think_ms), "0", "a user's pause between answer and next request", 0, 3600000},
    {"timeout-ms", CONFIG_INT, AT(timeout_ms), "60000", "for one request", 1, 3600000},
    {"stop-on-failure", CONFIG_BOOL, AT(stop_on_failure), "false", "the first failure ends the run"},
    {"quiet", CONFIG_BOOL, AT(quiet), "false", "no progress on standard error"},
    {"json", CONFIG_STR, AT(json), "", "file for the result in JSON; -: standard output, in place of the text"},
};

static struct status bad_url(const char *url)
{
    return status_errorf(ST_INVALID, "--url \"%.100s\": http://HOST[:PORT][/PATH] is needed", url);
}

static bool is_plain(const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text >= 0x7f)
            return false;
    return true;
}

/* "http://host:port/path" into host[:port] as a header wants it, and the path. */
static struct status split_url(const char *url, char *host, char *path)
{
    static const char scheme[] = "http://", standard[] = "/api/object_detection";
    const char *at = url + sizeof scheme - 1;

    if (strncmp(url, scheme, sizeof scheme - 1) != 0 || !is_plain(url))
        return bad_url(url);
    size_t n = strcspn(at, "/?#");
    if (!n || n >= HOST_MAX || (at[n] && at[n] != '/') || strchr(at, '#') || strlen(at + n) >= PATH_MAX_SIZE)
        return bad_url(url);
    snprintf(host, HOST_MAX, "%.*s", (int)n, at);
    snprintf(path, PATH_MAX_SIZE, "%s", at[n] && strcmp(at + n, "/") != 0 ? at + n : standard);
    return status_ok();
}

static struct status resolve(struct load_config *c, const char *url)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    char name[HOST_MAX];

    snprintf(name, sizeof name, "%s", c->host);
    char *colon = strrchr(name, ':');
    const char *port = colon ? colon + 1 : "80";
    if (colon)
        *colon = '\0';
    if (!*name || !*port || port[strspn(port, "0123456789")])
        return bad_url(url);
    int error = getaddrinfo(name, port, &hints, &found);
    if (error)
        return status_errorf(ST_UNAVAILABLE, "%s: %s", name, gai_strerror(error));
    memcpy(&c->address, found->ai_addr, found->ai_addrlen);
    c->address_size = found->ai_addrlen;
    freeaddrinfo(found);
    return status_ok();
}

/* *from: what the report calls them; the caller's to free(). */
static struct status load_pictures(struct pictures *out, char **from, const struct settings *s)
{
    bool raw = !strcmp(s->body, "raw");
    char *folder = *s->images ? xstrdup(s->images) : xasprintf("%s/images/inputfolder", s->data);

    *from = folder;
    if (*s->images || (*s->data && fs_exists(folder)))
        return pictures_load(out, folder, raw);
    free(folder);
    *from = xstrdup("nowhere: made here");
    return pictures_make(out, MADE_PICTURES, raw);
}

static void show_progress(const struct load_progress *p)
{
    fprintf(stderr, "%7.1f s  %-6s  %5lld users  %8.2f images/s  mean %9.1f ms  good %llu  failed %llu\n", p->seconds,
            p->stage, (long long)p->users, p->rate, p->mean_ms, (unsigned long long)p->n_ok,
            (unsigned long long)p->n_failed);
}

static double cpu_seconds(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

/* Exit code: whether every request was answered as it should be. */
static int run(const struct settings *s, struct load_config *config, const char *pictures_from)
{
    struct load_result *result = xmalloc(sizeof *result);
    struct report report = {config, result, s->url, pictures_from, cpu_seconds()};

    or_die(load_run(result, config));
    report.cpu_seconds = cpu_seconds() - report.cpu_seconds;
    if (*s->json)
        or_die(report_write(&report, s->json));
    if (strcmp(s->json, "-") != 0)
        report_print(&report);
    int code = result->n_ok && !result->n_failed ? 0 : 1;
    free(result);
    return code;
}

int main(int argc, char **argv)
{
    static const struct config_program program = {
        "bloginfer-load", "Users who send pictures, one after the other, and check every answer.", NULL};
    struct settings s = {0};
    struct config_part part = {options, COUNT_OF(options), &s};
    char host[HOST_MAX], path[PATH_MAX_SIZE], *from = NULL;
    struct pictures pictures;

    lifecycle_init();
    or_die(config_load(&program, &part, 1, &argc, argv));
    or_die(split_url(s.url, host, path));
    struct load_config config = {
        .host = host,
        .path = path,
        .pictures = &pictures,
        .raw = !strcmp(s.body, "raw"),
        .users = s.users,
        .first_users = s.first_users < s.users ? s.first_users : s.users,
        .spawn_rate = s.spawn_rate,
        .settle_ms = s.settle_ms,
        .window_ms = s.window_ms,
        .think_ms = s.think_ms,
        .timeout_ms = s.timeout_ms,
        .stop_on_failure = s.stop_on_failure,
        .progress = s.quiet ? NULL : show_progress,
    };
    or_die(resolve(&config, s.url));
    or_die(load_pictures(&pictures, &from, &s));
    int code = run(&s, &config, from);
    pictures_free(&pictures);
    free(from);
    config_free(&part, 1);
    return code;
}
