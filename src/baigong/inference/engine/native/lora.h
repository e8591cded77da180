// Low-rank additions to a projection, and how they are laid out from what a checkpoint holds.
#pragma once
#include "matrix.h"

struct Lora {  // one projection's addition; b in blocks of 16 outputs, each with the ranks that reach it
  int32_t rank;
  const void* a;          // [rank, k]
  const void* b;          // per block [count, 16]
  const int32_t* first;   // [blocks]
  const int32_t* count;   // [blocks]
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
  const Lora* to;        // whose room is to be filled
};

static inline void put(float* to, float value) { *to = value; }
static inline void put(bf16* to, float value) { *to = to_bf16(value); }

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
        T* lanes = b + job.to->offset[block] + (size_t)(r - first) * LANES;
        for (int lane = 0; lane < LANES; lane++) {
          const int out = job.order[block * LANES + lane];
          const bool is_ours = part.start <= out && out < part.stop;
          const size_t at = (size_t)(out - part.start) * part.rank + (r - row);
          put(lanes + lane, is_ours ? part.at(part.b, at) * part.scale : 0.0f);
        }
      }
    }
    row += part.rank;
  }
}
