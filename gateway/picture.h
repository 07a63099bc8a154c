/* picture.h - a request for detection, whichever way it comes: JSON with the picture in base64 (also twice encoded), a form
 * of multipart/form-data, or the picture's file as the body. */
#ifndef GATEWAY_PICTURE_H
#define GATEWAY_PICTURE_H

#include "http/http.h"

struct picture {
    const char *id;    /* of a bare file that comes without: the request's */
    const char *model; /* NULL: the detector's default */
    double threshold;  /* 0: the model's own */
    bool timing;
    uint8_t *data; /* the file, where the body was; NULL: the call has been answered, 413 */
    size_t size;
};

/* The texts live in the arena of the call, data as long as its body. Fields of the body go before parameters of the query.
 * ST_INVALID names what is wrong. */
struct status picture_read(struct http_call *call, size_t max_bytes, struct picture *out);

#endif
