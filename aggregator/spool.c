/* spool.c - see spool.h. */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct spool {
    int fd;
    uint64_t size;  /* bytes so far */
    uint64_t total; /* bytes when complete */
};

struct status spool_new(struct spool **out, const char *dir, size_t n_params)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0)
        return status_errno("make an upload file in %s", dir);
    struct spool *s = xcalloc(1, sizeof *s);
    s->fd = fd;
    s->total = (uint64_t)n_params * sizeof(float);
    *out = s;
    return status_ok();
}

void spool_free(struct spool *s)
{
    if (!s)
        return;
    close(s->fd);
    free(s);
}

/* Exponent all ones means infinity or NaN: an integer test, which no floating-point option can drop. */
bool floats_finite(const float *values, size_t n)
{
    uint32_t bad = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t bits;

        memcpy(&bits, &values[i], sizeof bits);
        bad |= (bits & 0x7F800000u) == 0x7F800000u;
    }
    return !bad;
}

static struct status write_at(int fd, const char *data, size_t size, uint64_t offset)
{
    while (size) {
        ssize_t k = pwrite(fd, data, size, (off_t)offset);

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return status_errno("write the upload");
        data += k;
        size -= (size_t)k;
        offset += (uint64_t)k;
    }
    return status_ok();
}

struct status spool_append(struct spool *s, uint64_t offset, uint32_t crc, const void *data, size_t size)
{
    if (offset != s->size)
        return status_errorf(ST_INVALID, "chunk at offset %llu: expected offset %llu", (unsigned long long)offset,
                             (unsigned long long)s->size);
    if (!size || size % sizeof(float) || size > s->total - s->size)
        return status_errorf(ST_INVALID,
                             "chunk of %zu bytes at offset %llu of %llu: not whole values within the update", size,
                             (unsigned long long)offset, (unsigned long long)s->total);
    if (crc32c(0, data, size) != crc)
        return status_errorf(ST_DATA_LOSS, "chunk at offset %llu: checksum differs", (unsigned long long)offset);
    if (!floats_finite(data, size / sizeof(float)))
        return status_errorf(ST_INVALID, "chunk at offset %llu: a value that is not finite",
                             (unsigned long long)offset);
    struct status st = write_at(s->fd, data, size, offset);
    if (!st.code)
        s->size += size;
    return st;
}

bool spool_complete(const struct spool *s)
{
    return s->size == s->total;
}

struct status spool_read(struct spool *s, float *values, size_t n_params)
{
    size_t size = n_params * sizeof *values;

    if (size != s->size)
        return status_errorf(ST_INTERNAL, "upload holds %llu bytes, not %zu", (unsigned long long)s->size, size);
    for (size_t done = 0; done < size;) {
        ssize_t k = pread(s->fd, (char *)values + done, size - done, (off_t)done);

        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return status_errno("read the upload back");
        done += (size_t)k;
    }
    return status_ok();
}
