/* log.c - see log.h. A line is built in one buffer and leaves in one write(2), so that lines of many threads (and of many
 * processes on one pipe) do not mix. */
#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 8192

static const char *log_prog = "-";
static atomic_int log_lowest = LOG_INFO;
static const char *const level_names[] = {"debug", "info", "warn", "error"};

struct status log_init(const char *prog, const char *level)
{
    for (int i = LOG_DEBUG; i <= LOG_ERROR; i++)
        if (!strcmp(level, level_names[i])) {
            log_prog = prog;
            log_lowest = i;
            return status_ok();
        }
    return status_errorf(ST_INVALID, "log level \"%s\": must be debug, info, warn or error", level);
}

static bool is_plain(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s <= ' ' || *s == '"' || *s == '=' || *s == '\\' || *s == 0x7f)
            return false;
    return true;
}

static void put_quoted(struct buf *b, const char *s)
{
    buf_putc(b, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            buf_printf(b, "\\%c", *s);
        else if (*s == '\n')
            buf_puts(b, "\\n");
        else if ((unsigned char)*s < ' ' || *s == 0x7f)
            buf_printf(b, "\\x%02x", (unsigned char)*s);
        else
            buf_putc(b, *s);
    }
    buf_putc(b, '"');
}

static void put_value(struct buf *b, const struct log_kv *kv)
{
    if (kv->kind == LOG_INT)
        buf_int(b, kv->i);
    else if (kv->kind == LOG_FLOAT)
        buf_printf(b, "%.6g", kv->f);
    else if (kv->s[0] && is_plain(kv->s))
        buf_puts(b, kv->s);
    else
        put_quoted(b, kv->s);
}

static void put_pair(struct buf *b, const char *first, const char *second)
{
    buf_puts(b, first);
    buf_puts(b, second);
}

void log_write(enum log_level level, const char *event, const struct log_kv *kvs, size_t n)
{
    struct buf b = BUF_INIT(LINE_MAX_BYTES);
    char stamp[CLOCK_STAMP_SIZE];

    if ((int)level < log_lowest)
        return;
    put_pair(&b, "time=", clock_stamp(clock_wall(), stamp));
    put_pair(&b, " level=", level_names[level]);
    put_pair(&b, " prog=", log_prog);
    put_pair(&b, " event=", event);
    for (size_t i = 0; i < n; i++) {
        buf_putc(&b, ' ');
        put_pair(&b, kvs[i].key, "=");
        put_value(&b, &kvs[i]);
    }
    b.limit++; /* the newline always fits */
    buf_putc(&b, '\n');
    for (size_t done = 0; done < b.size;) {
        ssize_t k = write(STDERR_FILENO, b.data + done, b.size - done);

        if (k <= 0)
            break;
        done += (size_t)k;
    }
    buf_fini(&b);
}
