// Low-rank additions to a projection, and how they are laid out from what a checkpoint holds.
#pragma once
#include "matrix.h"

struct Lora {  // one projection's addition; b in blocks of 16 outputs, each with the ranks that reach it
  int32_t rank;
  const void* a;          // [rank, k]
  const void* b;          // per block [count, 16], bfloat16 as [count / 2, 16] pairs
  const int32_t* first;   // [blocks]
  const int32_t* count;   // [blocks] an even number
  const int64_t* offset;  // [blocks] in values
};

struct LoraPart {  // one module's, for outputs start:stop of the projection; float32 or bfloat16
  int32_t rank, start, stop, kind;
  float scale;
  const void* a;  // [rank, k]
  const void* b;  // [stop - start, rank]

  float at(const void* values, size_t i) const {
    return kind == FLOAT32 ? ((const float*)values)[i] : to_float(((const bf16*)values)[i]);
  }
};

struct LoraJob {
  int32_t k, blocks, is_float, parts;
  LoraPart part[3];      // their ranks follow one another
  const int32_t* order;  // [16 * blocks] the output at each place, negative for none
  const Lora* to;        // whose room, all zeros, is to be filled
};

static inline void put(float* to, float value) { *to = value; }
static inline void put(bf16* to, float value) { *to = to_bf16(value); }

// Where a block's rank i has a lane.
template <class T> static inline int lane_at(int i, int lane) {
  return sizeof(T) == 4 ? i * LANES + lane : (i / 2 * LANES + lane) * 2 + i % 2;
}

template <class T> static void pack_lora(const LoraJob& job) {
  T *a = (T*)job.to->a, *b = (T*)job.to->b;
  int row = 0;
  for (int p = 0; p < job.parts; p++) {
    const LoraPart& part = job.part[p];
    for (size_t i = 0; i < (size_t)part.rank * job.k; i++) put(a++, part.at(part.a, i));
    for (int block = 0; block < job.blocks; block++) {
      // Of the block's ranks, those of this part.
      const int first = job.to->first[block], stop = first + job.to->count[block];
      for (int r = std::max(first, row); r < std::min(stop, row + part.rank); r++) {
        T* lanes = b + job.to->offset[block];
        for (int lane = 0; lane < LANES; lane++) {
          const int out = job.order[block * LANES + lane];
          const bool is_ours = part.start <= out && out < part.stop;
          const size_t at = (size_t)(out - part.start) * part.rank + (r - row);
          put(lanes + lane_at<T>(r - first, lane), is_ours ? part.at(part.b, at) * part.scale : 0.0f);
        }
      }
    }
    row += part.rank;
  }
}

// out [RANKS] = a [RANKS, k] @ row r of `in`.
template <int RANKS> static void project(const float* a, const Rows& in, int r, float* out) {
  F16 sums[RANKS] = {};
  for (int c = 0; c < in.k; c += LANES) {
    const F16 v = in.get(r, c);
    for (int j = 0; j < RANKS; j++) sums[j] += v * widen(a + (size_t)j * in.k + c);
  }
  for (int j = 0; j < RANKS; j++) out[j] = sum(sums[j]);
}

template <int RANKS> static void project(const bf16* a, const Rows& in, int r, bf16* out) {
  F16 sums[RANKS] = {};
  for (int c = 0; c < in.k; c += 32) {
    U16 v;
    if (in.is_float) {
      bf16 both[32];
      narrow(both, in.get(r, c)), narrow(both + LANES, in.get(r, c + LANES));
      v = load<U16>(both);
    } else {
      v = load<U16>(in.pairs(r, c));
    }
    for (int j = 0; j < RANKS; j++) sums[j] = dot_pairs(sums[j], load<U16>(a + (size_t)j * in.k + c), v);
  }
  for (int j = 0; j < RANKS; j++) out[j] = to_bf16(sum(sums[j]));
}

// Add low @ b to sixteen outputs. Each row may have an adapter of its own, so nothing but the prefetch, of the band
// after this one, tells the memory what is wanted next.
static void raise_row(const Lora& part, int block, const float* low, float* at) {
  const int count = part.count[block];
  const float *b = (const float*)part.b + part.offset[block], *in = low + part.first[block];
  F16 v = load<F16>(at);
  for (int i = 0; i < count; i++) {
    __builtin_prefetch(b + (2 * count + i) * LANES);
    v += load<F16>(b + i * LANES) * in[i];
  }
  store(at, v);
}

static void raise_row(const Lora& part, int block, const bf16* low, float* at) {
  const int count = part.count[block];
  const bf16 *b = (const bf16*)part.b + part.offset[block], *in = low + part.first[block];
  F16 v = load<F16>(at);
  for (int i = 0; i < count; i += 2) {
    __builtin_prefetch(b + (2 * count + i) * LANES);
    v = dot_pairs(v, load<U16>(b + i * LANES), pair_at(in + i));
  }
  store(at, v);
}
