// Vectors of sixteen lanes in GCC's portable notation: AVX-512 as it is, two AVX2 or four NEON registers elsewhere.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Registers of eight lanes and products that are added at once, and no wider ones.
#define HAS_HALVES (defined(__AVX2__) && defined(__FMA__) && !defined(__AVX512F__))

typedef float F16 __attribute__((vector_size(64)));
typedef int32_t I16 __attribute__((vector_size(64)));
typedef uint32_t U16 __attribute__((vector_size(64)));
typedef uint16_t H16 __attribute__((vector_size(32)));
typedef uint16_t bf16;

static inline F16 splat(float x) { return F16{} + x; }
static inline I16 splat(int32_t x) { return I16{} + x; }

template <class V> static inline V load(const void* at) {
  V v;
  memcpy(&v, at, sizeof v);
  return v;
}
template <class V> static inline void store(void* at, V v) { memcpy(at, &v, sizeof v); }

static inline float to_float(bf16 x) {
  uint32_t bits = (uint32_t)x << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

static inline bf16 to_bf16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;  // NaN stays NaN
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

// Sixteen floats of memory in either type.
static inline F16 widen(const float* at) { return load<F16>(at); }
static inline F16 widen(const bf16* at) {
  return (F16)(__builtin_convertvector(load<H16>(at), U16) << 16);
}

static inline void narrow(float* at, F16 v) { store(at, v); }
static inline void narrow(bf16* at, F16 v) {
#if defined(__AVX512BF16__)
  __m256bh packed = _mm512_cvtneps_pbh((__m512)v);
  memcpy(at, &packed, 32);
#else
  U16 bits = (U16)v;
  U16 nan = (U16)(I16)(v != v);
  bits = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  bits = (bits & ~nan) | (nan & 0x7fc0);
  store(at, __builtin_convertvector(bits, H16));
#endif
}

// Two neighbours in every lane.
static inline U16 pair_at(const bf16* at) {
  uint32_t pair;
  memcpy(&pair, at, 4);
  return (U16)splat((int32_t)pair);
}

// sum + even(a) * even(b) + odd(a) * odd(b), where a lane of a and b holds two bf16.
static inline F16 dot_pairs(F16 sum, U16 a, U16 b) {
#if defined(__AVX512BF16__)
  return (F16)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
  sum += (F16)(a << 16) * (F16)(b << 16);
  return sum + (F16)(a & 0xffff0000u) * (F16)(b & 0xffff0000u);
#endif
}

// Four neighbouring bytes in every lane.
static inline I16 four_at(const int8_t* at) {
  int32_t four;
  memcpy(&four, at, 4);
  return splat(four);
}

// sum + the products of four neighbouring bytes in every lane, those of `a` unsigned and those of `b` signed.
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
#define HAS_BYTES 1
static inline I16 dot_bytes(I16 sum, I16 a, I16 b) { return (I16)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)b); }
#else
#define HAS_BYTES 0
#endif

static inline F16 larger(F16 a, F16 b) { return a > b ? a : b; }

static inline float sum(F16 v) {
  float s = 0;
  for (int i = 0; i < 8; i++) s += v[i] + v[i + 8];
  return s;
}
static inline float largest(F16 v) {
  float m = v[0];
  for (int i = 1; i < 16; i++) m = v[i] > m ? v[i] : m;
  return m;
}

// e to the x, to two units in the last place; 0 below -87, and NaN stays NaN.
static inline F16 exp(F16 x) {
  const F16 floor = splat(-87.0f), ceiling = splat(88.0f);
  F16 t = x < floor ? floor : x;
  t = t > ceiling ? ceiling : t;
  const float magic = 12582912.0f;  // rounds to the nearest integer when added and taken away
  F16 n = (t * 1.44269504f + magic) - magic;
  F16 r = t - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  F16 p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  I16 power = (__builtin_convertvector(n, I16) + 127) << 23;
  p = p * (F16)power;
  p = x < floor ? splat(0.0f) : p;
  return x != x ? x : p;
}

static inline F16 silu(F16 x) { return x / (1.0f + exp(-x)); }

// ---- AMX: tiles of 16 rows; loaded into every thread that multiplies

#if defined(__AMX_BF16__)
#define HAS_TILES 1
static inline void tiles_begin() {
  alignas(64) static const struct Config {
    uint8_t palette = 1, start = 0, rest[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  _tile_loadconfig(&config);
}
static inline void tiles_end() { _tile_release(); }
#else
#define HAS_TILES 0
static inline void tiles_begin() {}
static inline void tiles_end() {}
#endif
