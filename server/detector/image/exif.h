/* exif.h - the one fact of an EXIF block that detection needs: which way up the picture is. Phones store the sensor's
 * rows and say in EXIF how to turn them; a viewer turns them, so boxes have to be in the turned picture. */
#ifndef DETECTOR_EXIF_H
#define DETECTOR_EXIF_H

#include <stddef.h>
#include <stdint.h>

/* data: the body of a JPEG's APP1 segment, "Exif\0\0" first. 1..8 (EXIF 2.3, tag 0x0112); 1 when it does not say so
 * or is malformed. */
int exif_orientation(const uint8_t *data, size_t size);

#endif
