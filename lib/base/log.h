/* log.h - one event a line on standard error, in logfmt, safe from any thread:
 *
 *     log_info("model_loaded", log_s("task", task), log_i("version", v));
 *     time=2026-11-22T10:00:00.123Z level=info prog=inference event=model_loaded task=sentiment version=7
 *
 * Values are quoted and escaped here, so that no value of an outsider can forge a line.
 * ERROR is what a person must act on; WARN what they may want to know; DEBUG is off by default. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_kv {
    const char *key;
    enum { LOG_STR, LOG_INT, LOG_FLOAT } kind;
    const char *s;
    int64_t i;
    double f;
};

static inline struct log_kv log_s(const char *key, const char *value)
{
    return (struct log_kv){.key = key, .kind = LOG_STR, .s = value ? value : ""};
}

static inline struct log_kv log_i(const char *key, int64_t value)
{
    return (struct log_kv){.key = key, .kind = LOG_INT, .i = value};
}

static inline struct log_kv log_f(const char *key, double value)
{
    return (struct log_kv){.key = key, .kind = LOG_FLOAT, .f = value};
}

/* prog: borrowed for ever, the value of prog=. level: "debug", "info", "warn" or "error". Call once, before threads. */
struct status log_init(const char *prog, const char *level);

void log_write(enum log_level level, const char *event, const struct log_kv *kvs, size_t n);

#define LOG_ROW(...) ((const struct log_kv[]){{.key = NULL}, __VA_ARGS__})
#define LOG_AT(level, event, ...)                                                                                      \
    log_write(level, event, LOG_ROW(__VA_ARGS__) + 1, sizeof LOG_ROW(__VA_ARGS__) / sizeof(struct log_kv) - 1)
#define log_debug(event, ...) LOG_AT(LOG_DEBUG, event, __VA_ARGS__)
#define log_info(event, ...)  LOG_AT(LOG_INFO, event, __VA_ARGS__)
#define log_warn(event, ...)  LOG_AT(LOG_WARN, event, __VA_ARGS__)
#define log_error(event, ...) LOG_AT(LOG_ERROR, event, __VA_ARGS__)

#endif
