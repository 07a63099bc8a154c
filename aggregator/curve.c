/* curve.c - see curve.h. Two panels side by side, losses left and accuracy right; plain SVG 1.1. */
#include "curve.h"

#include <math.h>
#include <stdio.h>

#define PANEL_W 400.0
#define PANEL_H 260.0
#define TOP     64.0
#define LEFT    56.0
#define GAP     64.0
#define TICKS   5

struct panel {
    double x, y;        /* top left corner of the plotting area */
    double low, high;   /* range of the vertical axis */
    double first, last; /* rounds */
    const char *unit;   /* after a tick's number */
    double scale;       /* of a tick's number */
};

static double at_x(const struct panel *p, double round)
{
    return p->last > p->first ? p->x + (round - p->first) / (p->last - p->first) * PANEL_W : p->x + PANEL_W / 2;
}

static double at_y(const struct panel *p, double value)
{
    return p->y + (p->high - value) / (p->high - p->low) * PANEL_H;
}

/* Numbers that a person would choose: 1, 2 or 5 times a power of ten, about TICKS of them. */
static double nice_step(double range)
{
    double raw = range / TICKS, power = pow(10, floor(log10(raw))), m = raw / power;

    return power * (m < 1.5 ? 1 : m < 3.5 ? 2 : m < 7.5 ? 5 : 10);
}

static void fit(struct panel *p, double low, double high)
{
    double pad = (high - low) * 0.08 + 1e-3;

    p->low = low - pad;
    p->high = high + pad;
}

static void put_text(struct buf *b, double x, double y, const char *anchor, const char *class, const char *text)
{
    buf_printf(b, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x, y, anchor, class);
    for (; *text; text++)
        if (*text == '<' || *text == '&' || *text == '>')
            buf_printf(b, "&#%d;", *text);
        else
            buf_putc(b, *text);
    buf_puts(b, "</text>\n");
}

static void put_axes(struct buf *b, const struct panel *p, const char *caption)
{
    double step = nice_step(p->high - p->low);
    char text[32];

    for (long i = lround(ceil(p->low / step)); (double)i * step <= p->high; i++) {
        double v = (double)i * step;

        snprintf(text, sizeof text, "%.4g%s", v * p->scale, p->unit);
        buf_printf(b, "<path class=\"grid\" d=\"M%.1f %.1fh%.1f\"/>\n", p->x, at_y(p, v), PANEL_W);
        put_text(b, p->x - 6, at_y(p, v) + 4, "end", "tick", text);
    }
    long every = lround(fmax(1, nice_step(p->last - p->first + 1)));
    for (long r = lround(p->first); r <= lround(p->last); r += every) {
        snprintf(text, sizeof text, "%ld", r);
        put_text(b, at_x(p, (double)r), p->y + PANEL_H + 18, "middle", "tick", text);
    }
    put_text(b, p->x + PANEL_W / 2, p->y + PANEL_H + 38, "middle", "tick", "round");
    put_text(b, p->x, p->y - 12, "start", "caption", caption);
}

static void put_line(struct buf *b, const struct panel *p, const char *class, const struct curve_point *points,
                     size_t n, double (*value)(const struct curve_point *))
{
    buf_printf(b, "<path class=\"%s\" d=\"", class);
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "%c%.1f %.1f", i ? 'L' : 'M', at_x(p, points[i].round), at_y(p, value(&points[i])));
    buf_puts(b, "\"/>\n");
    for (size_t i = 0; i < n && n <= 50; i++)
        buf_printf(b, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", class, at_x(p, points[i].round),
                   at_y(p, value(&points[i])));
}

static double train_loss(const struct curve_point *p)
{
    return p->train_loss;
}

static double eval_loss(const struct curve_point *p)
{
    return p->eval_loss;
}

static double accuracy(const struct curve_point *p)
{
    return p->accuracy;
}

static void range(const struct curve_point *points, size_t n, double (*value)(const struct curve_point *), double *low,
                  double *high)
{
    for (size_t i = 0; i < n; i++) {
        *low = fmin(*low, value(&points[i]));
        *high = fmax(*high, value(&points[i]));
    }
}

char *curve_svg(const char *title, const struct curve_point *points, size_t n)
{
    struct buf b = BUF_INIT(4 << 20);
    struct panel losses = {
        .x = LEFT, .y = TOP, .first = points[0].round, .last = points[n - 1].round, .unit = "", .scale = 1};
    struct panel share = losses;
    double low = INFINITY, high = -INFINITY, width = LEFT + 2 * PANEL_W + GAP + 24, height = TOP + PANEL_H + 56;
    char last[64];

    range(points, n, train_loss, &low, &high);
    range(points, n, eval_loss, &low, &high);
    fit(&losses, low, high);
    low = INFINITY, high = -INFINITY;
    range(points, n, accuracy, &low, &high);
    fit(&share, low, high);
    share.x += PANEL_W + GAP;
    share.unit = "%";
    share.scale = 100;

    buf_printf(&b,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" "
               "role=\"img\">\n<style>.bg{fill:#fff}.grid{stroke:#e3e6ea}.tick{font-size:12px;fill:#5b6570}"
               ".caption{font-size:14px;fill:#1b222a;font-weight:600}.title{font-size:15px;fill:#1b222a}"
               "path.train,path.eval,path.acc{fill:none;stroke-width:2}.train{stroke:#b0622b;fill:#b0622b}"
               ".eval{stroke:#2b6cb0;fill:#2b6cb0}.acc{stroke:#2f855a;fill:#2f855a}"
               ".k1{font-size:12px;fill:#b0622b}.k2{font-size:12px;fill:#2b6cb0}</style>\n"
               "<rect class=\"bg\" width=\"100%%\" height=\"100%%\"/>\n",
               width, height);
    put_text(&b, LEFT, 24, "start", "title", title);
    put_axes(&b, &losses, "Loss");
    put_text(&b, losses.x + PANEL_W - 76, TOP - 12, "end", "k1", "training (with dropout)");
    put_text(&b, losses.x + PANEL_W, TOP - 12, "end", "k2", "evaluation");
    put_line(&b, &losses, "train", points, n, train_loss);
    put_line(&b, &losses, "eval", points, n, eval_loss);
    snprintf(last, sizeof last, "Accuracy on evaluation rows: %.2f%%", 100 * points[n - 1].accuracy);
    put_axes(&b, &share, last);
    put_line(&b, &share, "acc", points, n, accuracy);
    buf_puts(&b, "</svg>\n");
    return buf_take(&b);
}
