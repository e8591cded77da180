// Weights packed for reading in one stream, and products with few or many rows of activations.
//
// Outputs stand in blocks of 16, one to a lane; a block holds its inputs one after the other:
//   float32   [block][k][16]
//   bfloat16  [block][k / 2][16] pairs of inputs
//   int8      [block][k / 4][16] words of four, and a scale for every GROUP inputs
//   int4      [block][k / 8][16] words of eight codes, and a scale for every GROUP inputs
// Two neighbouring blocks, a band, are worked on together. n is k to whole bands with zeros; k is a multiple of GROUP.
#pragma once
#include <cmath>
#include <vector>

#include "simd.h"

enum Kind : int32_t { FLOAT32 = 0, BFLOAT16 = 1, INT8 = 2, INT4 = 3 };
constexpr int GROUP = 64, LANES = 16, BAND = 32, TILE_ROWS = 32;
constexpr int FEW = 4;  // rows up to which quantised weights are multiplied as they are, not widened to bfloat16

// Sixteen levels for weights that are spread as a bell: the quantiles of NF4 (Dettmers et al. 2023, appendix E) in
// steps of 1 / 127, so that they can be multiplied as bytes.
static const int8_t LEVELS[16] = {-127, -88, -67, -50, -36, -23, -12, 0, 10, 20, 31, 43, 56, 71, 92, 127};
static inline F16 float_levels() {
  F16 levels;
  for (int i = 0; i < 16; i++) levels[i] = LEVELS[i] / 127.0f;
  return levels;
}

struct Matrix {
  int32_t kind, k, bands;
  const void* data;
  const float* scales;  // [block][k / GROUP][16]
  const float* bias;    // [BAND * bands] or null

  size_t block_bytes() const {
    static const int eighths[] = {32, 16, 8, 4};
    return (size_t)k * LANES * eighths[kind] / 8;
  }
  const char* block(int b) const { return (const char*)data + b * block_bytes(); }
  const float* block_scales(int b) const { return scales + (size_t)b * (k / GROUP) * LANES; }
};

// Rows of activations [rows, k]. Bfloat16 ones lie in tiles [rows / 16][k / 32][16][32], which are read as they are:
// rows a power of two apart would fight for the same few lines of the first cache.
struct Rows {
  char* base;
  int k;
  bool is_float;
  float* floats(int r, int c) const { return (float*)base + (size_t)r * k + c; }
  bf16* pairs(int r, int c) const {
    return (bf16*)base + ((size_t)(r / 16) * (k / 32) + c / 32) * 512 + r % 16 * 32 + c % 32;
  }
  void put(int r, int c, F16 v) const {
    if (is_float) narrow(floats(r, c), v);
    else narrow(pairs(r, c), v);
  }
  F16 get(int r, int c) const { return is_float ? widen(floats(r, c)) : widen(pairs(r, c)); }
};

// Does a product of so many rows want its activations in float32, or in bfloat16?
static inline bool wants_float(int32_t kind, int rows) {
  return kind == FLOAT32 || (kind != BFLOAT16 && rows <= FEW);
}

// Weights i to i + 7 of a block, as floats before scaling.
template <int KIND> static inline void eight(const char* block, int i, F16 levels, F16 out[8]) {
  if constexpr (KIND == INT8) {
    for (int j = 0; j < 8; j++) {
      const I16 word = load<I16>(block + (i + j / 4 * 4) * LANES);
      out[j] = __builtin_convertvector((word << (24 - j % 4 * 8)) >> 24, F16);
    }
  } else {
    const I16 word = load<I16>(block + i * LANES / 2);
    for (int j = 0; j < 8; j++) {
#if defined(__AVX512F__)
      out[j] = (F16)_mm512_permutexvar_ps(_mm512_srli_epi32((__m512i)word, 4 * j), (__m512)levels);
#else
      out[j] = (F16)__builtin_shuffle((I16)levels, (word >> (4 * j)) & 15);
#endif
    }
  }
}

#if HAS_BYTES
// A few rows of activations as bytes, with a scale and a sum for every GROUP.
struct Bytes {
  std::vector<int8_t> values;
  std::vector<float> scales;
  std::vector<int32_t> sums;

  // In a group of weights in words of eight codes, the even ones come before the odd ones of each eight.
  void take(const float* x, int rows, int k, int kind) {
    values.resize((size_t)rows * k), scales.resize(rows * k / GROUP), sums.resize(rows * k / GROUP);
    for (int g = 0; g < rows * k / GROUP; g++, x += GROUP) {
      float top = 0;
      for (int i = 0; i < GROUP; i++) top = std::fmax(top, std::fabs(x[i]));
      const float factor = top > 0 ? 127 / top : 0;
      int8_t* to = &values[(size_t)g * GROUP];
      int32_t total = 0;
      for (int i = 0; i < GROUP; i++) {
        const int8_t value = (int8_t)std::lrintf(x[i] * factor);
        to[kind == INT4 ? i / 8 * 8 + i % 2 * 4 + i % 8 / 2 : i] = value;
        total += value;
      }
      scales[g] = top == top ? top / 127 : top, sums[g] = 128 * total;
    }
  }
};

// out [ROWS][32] = x [ROWS][k] @ band. Weights are multiplied as 128 more than they are, so that no byte is negative.
template <int ROWS, int KIND> static void few_bytes(const Matrix& m, int band, const Bytes& x, int row, float* out) {
  const int k = m.k, groups = k / GROUP;
  const I16 offset = (I16)_mm512_set1_epi8((char)128), nibble = (I16)_mm512_set1_epi8(15);
  const I16 levels = (I16)_mm512_add_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)LEVELS)), (__m512i)offset);
  const char* at[2] = {m.block(2 * band), m.block(2 * band + 1)};
  const float* scale[2] = {m.block_scales(2 * band), m.block_scales(2 * band + 1)};
  F16 sums[ROWS][2] = {};
  for (int g = 0; g < groups; g++) {
    I16 even[ROWS][2] = {}, odd[ROWS][2] = {};
    for (int i = 0; i < GROUP; i += 8)
      for (int side = 0; side < 2; side++) {
        I16 low, high;  // four weights each
        if constexpr (KIND == INT4) {
          const I16 word = load<I16>(at[side]);
          low = (I16)_mm512_shuffle_epi8((__m512i)levels, (__m512i)(word & nibble));
          high = (I16)_mm512_shuffle_epi8((__m512i)levels, (__m512i)((word >> 4) & nibble));
        } else {
          low = load<I16>(at[side]) ^ offset, high = load<I16>(at[side] + 64) ^ offset;
          __builtin_prefetch(at[side] + 2048 + 64);
        }
        __builtin_prefetch(at[side] + 2048);
        at[side] += KIND == INT4 ? 64 : 128;
        for (int r = 0; r < ROWS; r++) {
          const int8_t* from = &x.values[(size_t)(row + r) * k + g * GROUP + i];
          even[r][side] = dot_bytes(even[r][side], low, four_at(from));
          odd[r][side] = dot_bytes(odd[r][side], high, four_at(from + 4));
        }
      }
    for (int side = 0; side < 2; side++) {
      const F16 s = load<F16>(scale[side] + g * LANES);
      for (int r = 0; r < ROWS; r++) {
        const int group = (row + r) * groups + g;
        const I16 whole = even[r][side] + odd[r][side] - x.sums[group];
        sums[r][side] += __builtin_convertvector(whole, F16) * (s * x.scales[group]);
      }
    }
  }
  const float unit = KIND == INT4 ? 1 / 127.0f : 1;
  for (int r = 0; r < ROWS; r++)
    for (int side = 0; side < 2; side++) store(out + r * BAND + side * LANES, sums[r][side] * unit);
}
#else
struct Bytes {
  void take(const float*, int, int, int) {}
};
#endif

// out [ROWS][32] = x [ROWS][k] @ band, for float32 activations.
template <int ROWS, int KIND> static void few_quantised(const Matrix& m, int band, const float* x, float* out) {
  const int k = m.k;
  const F16 levels = float_levels();
  const char* at[2] = {m.block(2 * band), m.block(2 * band + 1)};
  const float* scale[2] = {m.block_scales(2 * band), m.block_scales(2 * band + 1)};
  F16 sums[ROWS][2] = {};
  for (int g = 0; g < k / GROUP; g++) {
    F16 part[ROWS][2] = {}, odd[ROWS][2] = {};
    for (int i = g * GROUP; i < (g + 1) * GROUP; i += 8)
      for (int side = 0; side < 2; side++) {
        __builtin_prefetch(at[side] + i * LANES / (KIND == INT8 ? 1 : 2) + 2048);
        F16 w[8];
        eight<KIND>(at[side], i, levels, w);
        for (int j = 0; j < 8; j += 2)
          for (int r = 0; r < ROWS; r++) {
            part[r][side] += w[j] * x[r * k + i + j];
            odd[r][side] += w[j + 1] * x[r * k + i + j + 1];
          }
      }
    for (int side = 0; side < 2; side++) {
      const F16 s = load<F16>(scale[side] + g * LANES);
      for (int r = 0; r < ROWS; r++) sums[r][side] += (part[r][side] + odd[r][side]) * s;
    }
  }
  for (int r = 0; r < ROWS; r++)
    for (int side = 0; side < 2; side++) store(out + r * BAND + side * LANES, sums[r][side]);
}

#if HAS_HALVES
// With sixteen registers of eight lanes a block at a time is worked on: twelve of them hold the sums of six rows.
// GCC would keep wider sums in memory, at a tenth of the speed.
constexpr int FLOAT_ROWS = 6, PAIR_ROWS = 4;

template <int ROWS> static void few_floats(const Matrix& m, int band, const float* x, float* out) {
  const int k = m.k;
  for (int side = 0; side < 2; side++) {
    const float* w = (const float*)m.block(2 * band + side);
    __m256 sums[ROWS][2];
    for (int r = 0; r < ROWS; r++) sums[r][0] = sums[r][1] = _mm256_setzero_ps();
    for (int i = 0; i < k; i++, w += LANES) {
      __builtin_prefetch(w + 512);
      const __m256 low = _mm256_loadu_ps(w), high = _mm256_loadu_ps(w + 8);
      for (int r = 0; r < ROWS; r++) {
        const __m256 one = _mm256_broadcast_ss(x + (size_t)r * k + i);
        sums[r][0] = _mm256_fmadd_ps(low, one, sums[r][0]);
        sums[r][1] = _mm256_fmadd_ps(high, one, sums[r][1]);
      }
    }
    for (int r = 0; r < ROWS; r++)
      for (int half = 0; half < 2; half++) _mm256_storeu_ps(out + r * BAND + side * LANES + half * 8, sums[r][half]);
  }
}

template <int ROWS> static void few_pairs(const char* a, const char* b, const Rows& x, int row, float* out) {
  const __m256i upper = _mm256_set1_epi32((int)0xffff0000u);
  for (int side = 0; side < 2; side++) {
    const char* w = side ? b : a;
    __m256 sums[ROWS][2];
    for (int r = 0; r < ROWS; r++) sums[r][0] = sums[r][1] = _mm256_setzero_ps();
    for (int start = 0; start < x.k; start += 32) {
      const bf16* at[ROWS];
      for (int r = 0; r < ROWS; r++) at[r] = x.pairs(row + r, start);
      for (int j = 0; j < 32; j += 2, w += 64) {
        __m256 even[2], odd[2];
        for (int half = 0; half < 2; half++) {
          const __m256i pairs = _mm256_loadu_si256((const __m256i*)(w + half * 32));
          even[half] = (__m256)_mm256_slli_epi32(pairs, 16), odd[half] = (__m256)_mm256_and_si256(pairs, upper);
        }
        for (int r = 0; r < ROWS; r++) {
          const __m256 first = _mm256_set1_ps(to_float(at[r][j])), second = _mm256_set1_ps(to_float(at[r][j + 1]));
          for (int half = 0; half < 2; half++)
            sums[r][half] = _mm256_fmadd_ps(odd[half], second, _mm256_fmadd_ps(even[half], first, sums[r][half]));
        }
      }
    }
    for (int r = 0; r < ROWS; r++)
      for (int half = 0; half < 2; half++) _mm256_storeu_ps(out + r * BAND + side * LANES + half * 8, sums[r][half]);
  }
}
#else
constexpr int FLOAT_ROWS = 4, PAIR_ROWS = 8;

template <int ROWS> static void few_floats(const Matrix& m, int band, const float* x, float* out) {
  const int k = m.k;
  const float *a = (const float*)m.block(2 * band), *b = (const float*)m.block(2 * band + 1);
  F16 even[ROWS][2] = {}, odd[ROWS][2] = {};
  for (int i = 0; i < k; i += 2) {
    F16 a0 = load<F16>(a + i * LANES), b0 = load<F16>(b + i * LANES);
    F16 a1 = load<F16>(a + i * LANES + LANES), b1 = load<F16>(b + i * LANES + LANES);
    for (int r = 0; r < ROWS; r++) {
      float x0 = x[r * k + i], x1 = x[r * k + i + 1];
      even[r][0] += a0 * x0, even[r][1] += b0 * x0;
      odd[r][0] += a1 * x1, odd[r][1] += b1 * x1;
    }
  }
  for (int r = 0; r < ROWS; r++)
    for (int side = 0; side < 2; side++) store(out + r * BAND + side * LANES, even[r][side] + odd[r][side]);
}

// The same for bfloat16 activations and a strip [k / 2][16] pairs for either side of the band.
template <int ROWS> static void few_pairs(const char* a, const char* b, const Rows& x, int row, float* out) {
  F16 even[ROWS][2] = {}, odd[ROWS][2] = {};
  for (int start = 0; start < x.k; start += 32) {
    const bf16* at[ROWS];
    for (int r = 0; r < ROWS; r++) at[r] = x.pairs(row + r, start);
    for (int j = 0; j < 32; j += 4) {
      const int i = start + j;
      U16 a0 = load<U16>(a + i * 32), a1 = load<U16>(a + i * 32 + 64);
      U16 b0 = load<U16>(b + i * 32), b1 = load<U16>(b + i * 32 + 64);
      for (int r = 0; r < ROWS; r++) {
        U16 x0 = pair_at(at[r] + j), x1 = pair_at(at[r] + j + 2);
        even[r][0] = dot_pairs(even[r][0], a0, x0), even[r][1] = dot_pairs(even[r][1], b0, x0);
        odd[r][0] = dot_pairs(odd[r][0], a1, x1), odd[r][1] = dot_pairs(odd[r][1], b1, x1);
      }
    }
  }
  for (int r = 0; r < ROWS; r++)
    for (int side = 0; side < 2; side++) store(out + r * BAND + side * LANES, even[r][side] + odd[r][side]);
}

#endif

#if HAS_TILES
// out [32][32] = x [row:row + 32][k] @ strips; rows beyond those wanted are computed and not read. With one tile of
// rows (rows <= 16) only the upper half of `out` is written.
static void tile_pairs(const char* a, const char* b, const Rows& x, int row, int rows, float* out) {
  const bf16 *upper = x.pairs(row, 0), *lower = x.pairs(row + 16, 0);
  _tile_zero(0);
  _tile_zero(1);
  if (rows <= 16) {
    for (int i = 0; i < x.k; i += 32) {
      for (int line = 0; line < 16; line++) {
        __builtin_prefetch(a + i * 32 + 4096 + line * 64);
        __builtin_prefetch(b + i * 32 + 4096 + line * 64);
      }
      _tile_loadd(4, upper + i * 16, 64);
      _tile_loadd(6, a + i * 32, 64);
      _tile_loadd(7, b + i * 32, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
    }
  } else {
    _tile_zero(2);
    _tile_zero(3);
    for (int i = 0; i < x.k; i += 32) {
      for (int line = 0; row == 0 && line < 16; line++) {
        __builtin_prefetch(a + i * 32 + 4096 + line * 64);
        __builtin_prefetch(b + i * 32 + 4096 + line * 64);
      }
      _tile_loadd(4, upper + i * 16, 64);
      _tile_loadd(6, a + i * 32, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, b + i * 32, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, lower + i * 16, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(2, out + 16 * BAND, BAND * 4);
    _tile_stored(3, out + 16 * BAND + LANES, BAND * 4);
  }
  _tile_stored(0, out, BAND * 4);
  _tile_stored(1, out + LANES, BAND * 4);
}
#endif

static void pairs_product(const char* a, const char* b, const Rows& x, int row, int rows, float* out) {
#if HAS_TILES
  if (rows > 1) return tile_pairs(a, b, x, row, rows, out);
#endif
  int r = 0;
  for (; r + PAIR_ROWS <= rows; r += PAIR_ROWS) few_pairs<PAIR_ROWS>(a, b, x, row + r, out + r * BAND);
  for (; r + 2 <= rows; r += 2) few_pairs<2>(a, b, x, row + r, out + r * BAND);
  for (; r < rows; r++) few_pairs<1>(a, b, x, row + r, out + r * BAND);
}

// A block's weights as bfloat16 pairs [k / 2][16], scales applied.
template <int KIND> static void widen_block(const Matrix& m, int b, char* to) {
  const F16 levels = float_levels();
  const char* from = m.block(b);
  const float* scales = m.block_scales(b);
  for (int i = 0; i < m.k; i += 8) {
    const F16 scale = load<F16>(scales + i / GROUP * LANES);
    __builtin_prefetch(from + i * LANES / (KIND == INT8 ? 1 : 2) + 2048);
    F16 w[8];
    eight<KIND>(from, i, levels, w);
    for (int j = 0; j < 8; j += 2, to += 64) {
      // Rounded to the nearest by adding half of what is cut off.
      const U16 low = (U16)(w[j] * scale) + 0x8000u, high = (U16)(w[j + 1] * scale) + 0x8000u;
      store(to, (low >> 16) | (high & 0xffff0000u));
    }
  }
}

template <int KIND>
static void quantised_rows(const Matrix& m, int band, const float* x, const Bytes& bytes, int rows, float* out) {
  int r = 0;
#if HAS_BYTES
  for (; r + 4 <= rows; r += 4) few_bytes<4, KIND>(m, band, bytes, r, out + r * BAND);
  for (; r + 2 <= rows; r += 2) few_bytes<2, KIND>(m, band, bytes, r, out + r * BAND);
  for (; r < rows; r++) few_bytes<1, KIND>(m, band, bytes, r, out + r * BAND);
#else
  for (; r + 2 <= rows; r += 2) few_quantised<2, KIND>(m, band, x + (size_t)r * m.k, out + r * BAND);
  for (; r < rows; r++) few_quantised<1, KIND>(m, band, x + (size_t)r * m.k, out + r * BAND);
#endif
}

// out [rows][32] = x [row:row + rows] @ band, for up to TILE_ROWS rows. `strip` holds the band's bfloat16 form where
// the matrix is quantised and there are many rows (see prepare_strip), `bytes` the activations where there are few.
static void product(const Matrix& m, int band, const Rows& x, const Bytes& bytes, int row, int rows, const char* strip,
                    float* out) {
  if (!x.is_float) {
    const char* a = strip ? strip : m.block(2 * band);
    const char* b = strip ? strip + (size_t)m.k * 32 : m.block(2 * band + 1);
    return pairs_product(a, b, x, row, rows, out);
  }
  const float* at = x.floats(row, 0);
  if (m.kind == INT8) return quantised_rows<INT8>(m, band, at, bytes, rows, out);
  if (m.kind == INT4) return quantised_rows<INT4>(m, band, at, bytes, rows, out);
  int r = 0;
  for (; r + FLOAT_ROWS <= rows; r += FLOAT_ROWS) few_floats<FLOAT_ROWS>(m, band, at + (size_t)r * m.k, out + r * BAND);
  for (; r + 2 <= rows; r += 2) few_floats<2>(m, band, at + (size_t)r * m.k, out + r * BAND);
  for (; r < rows; r++) few_floats<1>(m, band, at + (size_t)r * m.k, out + r * BAND);
}

static const char* prepare_strip(const Matrix& m, int band, int rows, char* room) {
  if (m.kind < INT8 || rows <= FEW) return nullptr;
  for (int side = 0; side < 2; side++) {
    char* to = room + (size_t)side * m.k * 32;
    if (m.kind == INT8) widen_block<INT8>(m, 2 * band + side, to);
    else widen_block<INT4>(m, 2 * band + side, to);
  }
  return room;
}

// ---- packing

// The scale of a group whose squared error is least among a few near its largest weight, and its nearest levels.
static float int4_scale(const float* x, uint8_t* codes) {
  constexpr int PARTS = GROUP / LANES;
  float top = 0, best = 1e30f, chosen = 0;
  for (int i = 0; i < GROUP; i++) top = std::fmax(top, std::fabs(x[i]));
  for (int step = 0; step < 8; step++) {
    const float share = 1.04f - 0.04f * step, scale = top * share, steps = scale > 0 ? 127 / scale : 0;
    I16 levels[PARTS];
    F16 error = {};
    for (int part = 0; part < PARTS; part++) {
      const F16 t = load<F16>(x + part * LANES) * steps;
      F16 nearest = splat((float)LEVELS[0]);
      levels[part] = I16{};
      for (int i = 1; i < 16; i++) {
        const I16 is_beyond = t > splat((LEVELS[i - 1] + LEVELS[i]) / 2.0f);
        nearest = is_beyond ? splat((float)LEVELS[i]) : nearest;
        levels[part] -= is_beyond;
      }
      error += (t - nearest) * (t - nearest);
    }
    const float whole = sum(error) * share * share;
    if (whole >= best) continue;
    best = whole, chosen = scale;
    for (int i = 0; i < GROUP; i++) codes[i] = levels[i / LANES][i % LANES];
  }
  return chosen;
}

// Pack one block of rows: source row `rows[lane]` of w [*, k], or zeros where it is negative.
static void pack_block(int kind, const float* w, int k, const int32_t* rows, char* to, float* scales) {
  for (int lane = 0; lane < LANES; lane++) {
    const float* row = rows[lane] < 0 ? nullptr : w + (size_t)rows[lane] * k;
    auto value = [&](int i) { return row ? row[i] : 0.0f; };
    for (int i = 0; kind == FLOAT32 && i < k; i++) ((float*)to)[i * LANES + lane] = value(i);
    for (int i = 0; kind == BFLOAT16 && i < k; i++)
      ((bf16*)to)[(i / 2 * LANES + lane) * 2 + i % 2] = to_bf16(value(i));
    for (int g = 0; kind >= INT8 && g < k / GROUP; g++) {
      float x[GROUP], top = 0;
      uint8_t codes[GROUP];
      for (int i = 0; i < GROUP; i++) x[i] = value(g * GROUP + i), top = std::fmax(top, std::fabs(x[i]));
      float scale = top / 127;
      if (kind == INT4) scale = int4_scale(x, codes);
      scales[g * LANES + lane] = scale;
      for (int i = 0; i < GROUP; i++) {
        const int at = g * GROUP + i;
        if (kind == INT8) {
          ((int8_t*)to)[(at / 4 * LANES + lane) * 4 + at % 4] = scale > 0 ? (int8_t)std::lrintf(x[i] / scale) : 0;
        } else {
          uint8_t& byte = ((uint8_t*)to)[(at / 8 * LANES + lane) * 4 + at % 8 / 2];
          byte = at % 2 ? (byte | codes[i] << 4) : codes[i];
        }
      }
    }
  }
}

// One weight, for looking rows of an embedding up.
static inline float weight_at(const Matrix& m, int row, int i) {
  const char* block = m.block(row / LANES);
  const int lane = row % LANES;
  if (m.kind == FLOAT32) return ((const float*)block)[i * LANES + lane];
  if (m.kind == BFLOAT16) return to_float(((const bf16*)block)[(i / 2 * LANES + lane) * 2 + i % 2]);
  const float scale = m.block_scales(row / LANES)[i / GROUP * LANES + lane];
  if (m.kind == INT8) return scale * ((const int8_t*)block)[(i / 4 * LANES + lane) * 4 + i % 4];
  return scale / 127 * LEVELS[((const uint8_t*)block)[(i / 8 * LANES + lane) * 4 + i % 8 / 2] >> (i % 2 * 4) & 15];
}
