/* lane.c - see lane.h. Rings with a head, so that a row leaves without a search; the oldest row is at the front of one of
 * a few rings. */
#include "lane.h"

#define REACH 2 /* buckets to each side that join: lengths from half to twice */

void lane_init(struct lane *l)
{
    for (size_t level = 0; level < BATCHER_N_LEVELS; level++) {
        struct lane_queue *q = &l->queues[level];
        q->n_rows = 0;
        for (size_t i = 0; i < LANE_BUCKETS; i++)
            q->buckets[i].prev = q->buckets[i].next = &q->buckets[i];
    }
    l->n_rows = 0;
}

size_t lane_bucket(const struct batcher_row *row)
{
    static const uint16_t longest[LANE_BUCKETS] = {8,   11,  16,  23,  32,  45,  64,           91,
                                                   128, 181, 256, 362, 512, 724, NN_MAX_TOKENS};
    enum nn_family family = row->job->model->classifier->shape.family;
    size_t i = 0;

    if (family == NN_LINEAR || family == NN_BAG)
        return 0;
    while (i + 1 < LANE_BUCKETS && row->example.n_ids > longest[i])
        i++;
    return i;
}

static void unlink_row(struct lane *l, struct batcher_row *row)
{
    row->prev->next = row->next;
    row->next->prev = row->prev;
    row->prev = row->next = NULL;
    l->queues[row->job->level].n_rows--;
    l->n_rows--;
}

void lane_add(struct lane *l, struct batcher_job *job)
{
    struct lane_queue *q = &l->queues[job->level];

    for (size_t i = 0; i < job->n_rows; i++) {
        struct batcher_row *row = &job->rows[i];
        row->job = job;
        struct batcher_row *head = &q->buckets[lane_bucket(row)];
        row->prev = head->prev;
        row->next = head;
        head->prev->next = row;
        head->prev = row;
    }
    q->n_rows += job->n_rows;
    l->n_rows += job->n_rows;
}

size_t lane_remove(struct lane *l, struct batcher_job *job)
{
    size_t n = 0;

    for (size_t i = 0; i < job->n_rows; i++)
        if (job->rows[i].next) {
            unlink_row(l, &job->rows[i]);
            n++;
        }
    return n;
}

const struct batcher_row *lane_oldest(const struct lane *l, enum batcher_level level)
{
    const struct lane_queue *q = &l->queues[level];
    const struct batcher_row *oldest = NULL;

    for (size_t i = 0; q->n_rows && i < LANE_BUCKETS; i++) {
        const struct batcher_row *head = &q->buckets[i], *row = head->next;
        if (row != head && (!oldest || row->job->arrival < oldest->job->arrival))
            oldest = row;
    }
    return oldest;
}

size_t lane_take(struct lane *l, enum batcher_level level, size_t bucket, size_t max, struct batcher_row **rows)
{
    size_t n = 0;

    for (size_t i = 0; i <= 2 * REACH; i++) { /* 0, -1, +1, -2, +2 */
        size_t at = i % 2 ? bucket - (i + 1) / 2 : bucket + i / 2;
        if (at >= LANE_BUCKETS) /* below 0, too */
            continue;
        struct batcher_row *head = &l->queues[level].buckets[at];
        while (n < max && head->next != head) {
            rows[n++] = head->next;
            unlink_row(l, head->next);
        }
    }
    return n;
}
