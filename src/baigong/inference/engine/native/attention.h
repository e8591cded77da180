// Attention of query rows over pages of keys and values, a chunk of pages at a time with a running softmax.
//
// A page holds PAGE tokens of one key-value head, laid out so that both products read it in order:
//   keys    [PAGE / 16][d][16] floats, or [PAGE / 16][d / 2][16] pairs of bfloat16
//   values  [PAGE][d] floats, or [PAGE / 2][d] pairs of bfloat16 (two tokens)
#pragma once
#include <cmath>

#include "simd.h"

constexpr int PAGE = 32, CHUNK = 8 * PAGE, QUERIES = 16, LARGEST_HEAD = 256;

template <class T> struct Scratch {
  alignas(64) T q[QUERIES * LARGEST_HEAD];
  alignas(64) float scores[QUERIES * CHUNK];
  alignas(64) T shares[QUERIES * CHUNK];
  alignas(64) float out[QUERIES * LARGEST_HEAD];
};

static inline void write_token(float* keys, float* values, int slot, int d, const float* k, const float* v) {
  for (int i = 0; i < d; i++) keys[(slot / 16 * d + i) * 16 + slot % 16] = k[i];
  memcpy(values + slot * d, v, d * 4);
}
static inline void write_token(bf16* keys, bf16* values, int slot, int d, const float* k, const float* v) {
  bf16* column = keys + slot / 16 * d * 16 + slot % 16 * 2;
  for (int i = 0; i < d; i += 2, column += 32) column[0] = to_bf16(k[i]), column[1] = to_bf16(k[i + 1]);
  for (int i = 0; i < d; i++) values[(slot / 2 * d + i) * 2 + slot % 2] = to_bf16(v[i]);
}

static void key_product(const float* q, int rows, const float* keys, int d, float* scores) {
  for (int r = 0; r < rows; r++)
    for (int block = 0; block < 2; block++) {
      F16 even = {}, odd = {};
      const float* at = keys + block * d * 16;
      for (int i = 0; i < d; i += 2) {
        even += load<F16>(at + i * 16) * q[r * d + i];
        odd += load<F16>(at + i * 16 + 16) * q[r * d + i + 1];
      }
      store(scores + r * CHUNK + block * 16, even + odd);
    }
}

static void value_product(const float* shares, int rows, const float* values, int d, float* out) {
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < d; c += 16) {
      F16 sum = load<F16>(out + r * d + c);
      for (int t = 0; t < PAGE; t++) sum += load<F16>(values + t * d + c) * shares[r * CHUNK + t];
      store(out + r * d + c, sum);
    }
}

static void key_product(const bf16* q, int rows, const bf16* keys, int d, float* scores) {
#if HAS_TILES
  if (d % 32 == 0) {
    _tile_zero(0);
    _tile_zero(1);
    for (int i = 0; i < d; i += 32) {
      _tile_loadd(4, q + i, d * 2);
      _tile_loadd(6, keys + i * 16, 64);
      _tile_loadd(7, keys + (d + i) * 16, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
    }
    _tile_stored(0, scores, CHUNK * 4);
    _tile_stored(1, scores + 16, CHUNK * 4);
    return;
  }
#endif
  for (int r = 0; r < rows; r++)
    for (int block = 0; block < 2; block++) {
      F16 sum = {};
      for (int i = 0; i < d; i += 2)
        sum = dot_pairs(sum, load<U16>(keys + (block * d + i) * 16), pair_at(q + r * d + i));
      store(scores + r * CHUNK + block * 16, sum);
    }
}

static void value_product(const bf16* shares, int rows, const bf16* values, int d, float* out) {
#if HAS_TILES
  for (int c = 0; c < d; c += 16) {
    _tile_loadd(0, out + c, d * 4);
    _tile_loadd(4, shares, CHUNK * 2);
    _tile_loadd(6, values + c * 2, d * 4);
    _tile_dpbf16ps(0, 4, 6);
    _tile_stored(0, out + c, d * 4);
  }
#else
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < d; c += 16) {
      F16 sum = load<F16>(out + r * d + c);
      for (int t = 0; t < PAGE; t += 2)
        sum = dot_pairs(sum, load<U16>(values + t * d + c * 2), pair_at(shares + r * CHUNK + t));
      store(out + r * d + c, sum);
    }
#endif
}

// Scores of one row become shares of the running softmax; returns by how much what came before must shrink.
template <class T>
static float soften(float* scores, T* shares, int from, int to, int width, float scale, float& top, float& total) {
  const I16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const F16 nothing = splat(-INFINITY);
  F16 highest = nothing;
  for (int i = 0; i < width; i += 16) {
    F16 s = load<F16>(scores + i) * scale;
    I16 at = lane + i;
    s = (at >= from) & (at < to) ? s : nothing;
    store(scores + i, s);
    highest = larger(highest, s);
  }
  const float now = largest(highest), peak = now > top ? now : top;
  if (peak == -INFINITY) {
    for (int i = 0; i < width; i += 16) narrow(shares + i, F16{});
    return 1;
  }
  F16 weight = {};
  for (int i = 0; i < width; i += 16) {
    F16 e = exp(load<F16>(scores + i) - peak);
    weight += e;
    narrow(shares + i, e);
  }
  const float shrink = top == -INFINITY ? 0 : std::exp(top - peak);
  total = total * shrink + sum(weight);
  top = peak;
  return shrink;
}

// Attention of `rows` queries [rows, d] in scratch.q, row r at position first + (offset + r) / group, over the pages of
// its sequence; the result is in scratch.out. `at(page)` finds the keys, `beyond` the distance to their values.
template <class T, class Find>
static void attend(Scratch<T>& s, int rows, int first, int offset, int group, int d, int window, float scale, Find find) {
  float top[QUERIES], total[QUERIES] = {};
  for (int r = 0; r < QUERIES; r++) top[r] = -INFINITY;
  memset(s.out, 0, sizeof(float) * QUERIES * d);
  const int low = first + offset / group, high = first + (offset + rows - 1) / group;
  const int oldest = window > 0 && low + 1 > window ? low + 1 - window : 0;
  for (int start = oldest / PAGE * PAGE; start <= high; start += CHUNK) {
    const int pages = (high - start + PAGE) / PAGE < CHUNK / PAGE ? (high - start + PAGE) / PAGE : CHUNK / PAGE;
    for (int p = 0; p < pages; p++) key_product(s.q, rows, find(start / PAGE + p).keys, d, s.scores + p * PAGE);
    for (int r = 0; r < rows; r++) {
      const int position = first + (offset + r) / group;
      const int from = window > 0 ? position + 1 - window - start : 0;
      const float shrink = soften(s.scores + r * CHUNK, s.shares + r * CHUNK, from, position + 1 - start,
                                  pages * PAGE, scale, top[r], total[r]);
      if (shrink != 1)
        for (int i = 0; i < d; i += 16) store(s.out + r * d + i, load<F16>(s.out + r * d + i) * shrink);
    }
    for (int p = 0; p < pages; p++) value_product(s.shares + p * PAGE, rows, find(start / PAGE + p).values, d, s.out);
  }
  for (int r = 0; r < rows; r++)
    for (int i = 0; i < d; i += 16) store(s.out + r * d + i, load<F16>(s.out + r * d + i) / total[r]);
}
