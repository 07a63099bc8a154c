/* dataset_fuzz.c - any bytes as each of the three file formats: rows lie within the block, labels within their range. */
#include "dataset.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const labels[] = {"negative", "positive"};
    const char *text = (const char *)data + 1;
    struct dataset d;

    if (!size--)
        return 0;
    dataset_init(&d);
    switch (data[0] % 3) {
    case 0:
        (void)dataset_parse_tsv(&d, "tsv", text, size, labels);
        break;
    case 1:
        (void)dataset_parse_csv(&d, "csv", text, size);
        break;
    default:
        (void)dataset_parse_lines(&d, "lines", text, size, 1);
    }
    for (size_t i = 0; i < d.rows.n; i++) {
        const struct dataset_row *row = dataset_at(&d, i);
        if (row->label >= DATASET_N_LABELS || row->offset + row->size >= d.texts.size ||
            strlen(d.texts.data + row->offset) != row->size)
            abort();
    }
    dataset_fini(&d);
    return 0;
}
