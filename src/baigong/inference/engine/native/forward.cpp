// The decoder's forward pass on a CPU: what plain/decoder.py does in torch, in one call without pauses.
//
// Residuals and sums are float32 whatever the weights are. See matrix.h for products, attention.h for the cache.
#include <algorithm>
#include <memory>

#include "attention.h"
#include "lora.h"
#include "matrix.h"
#include "pool.h"

extern "C" {

struct Layer {
  const float *attention_norm, *mlp_norm, *qk_norm;  // the last [heads + kv_heads, d] or null
  Matrix qkv, out, gate_up, down;                    // gate and up alternate in blocks of 16
  int32_t window;                                    // 0: none
};

struct Model {
  int32_t layers, hidden, inner, heads, kv_heads, d, vocabulary, is_float;
  float epsilon, scale;
  const Layer* layer;
  Matrix embedding, head;
  const float *norm, *cos, *sin;  // the tables [positions, d], the sines of the first half negative
};

struct Sequence {
  int32_t start, count, past;  // rows of the step, and tokens cached before
  const int32_t* pages;
};

struct Segment {  // rows start:stop go through an adapter; parts is [layers][4], `ranks` their largest
  int32_t start, stop, ranks;
  const Lora* parts;
};

struct Step {
  int32_t rows, sequences, segments, wanted;
  int32_t *ids, *positions;
  const int32_t* wanted_rows;
  Sequence* sequence;
  const Segment* segment;
  char *keys, *values;   // [layers][pages][kv_heads][PAGE * d]
  int64_t layer_stride;  // bytes; 0 where nothing is kept
  float* logits;         // [wanted, vocabulary], or null
  float* hidden;         // [rows, hidden] normalised, or null
  int32_t* tokens;       // [wanted] the likeliest of each, BROKEN where a number is not finite; or null
};
}

namespace {

enum { QKV, OUT, GATE_UP, DOWN };
constexpr int32_t BROKEN = -1;

// The first of the largest numbers; BROKEN where one is NaN or the largest is not finite.
static int32_t likeliest(const float* row, int count) {
  F16 best = splat(-INFINITY);
  I16 at = {}, here = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, strange = {};
  int i = 0;
  for (; i + LANES <= count; i += LANES, here += LANES) {
    const F16 v = load<F16>(row + i);
    strange |= v != v;
    at = v > best ? here : at;
    best = larger(best, v);
  }
  float top = -INFINITY;
  int32_t chosen = BROKEN, is_strange = 0;
  for (int lane = 0; lane < LANES; lane++) {
    is_strange |= strange[lane];
    if (best[lane] > top || (best[lane] == top && at[lane] < chosen)) top = best[lane], chosen = at[lane];
  }
  for (; i < count; i++) {
    is_strange |= row[i] != row[i];
    if (row[i] > top) top = row[i], chosen = i;
  }
  return is_strange || !std::isfinite(top) ? BROKEN : chosen;
}

struct Room {  // one thread's own
  std::vector<char> strip;
  Bytes bytes;
  alignas(64) float tile[TILE_ROWS * BAND];
  Scratch<float> floats;
  Scratch<bf16> pairs;
};

class Engine {
 public:
  Engine(const Model& model, int threads) : m(model), pool(threads) {
    for (int i = 0; i < threads; i++) rooms.push_back(std::make_unique<Room>());
  }

  void forward(const Step& step) {
    s = &step;
    x.resize((size_t)step.rows * m.hidden);
    qkv.resize((size_t)step.rows * (m.heads + 2 * m.kv_heads) * m.d);
    low.resize((size_t)step.rows * (ranks = most_ranks()));
    // Whole tiles are read, so there is room for the last one's unused rows.
    const int tall = (std::max(step.rows, step.wanted) + TILE_ROWS) / TILE_ROWS * TILE_ROWS;
    for (auto& memory : activations)
      memory.resize((size_t)tall * std::max({m.hidden, m.inner, m.heads * m.d}) * 4 + 64);
    pool.run([&](int me) {
      tiles_begin();
      pass(me);
      tiles_end();
    });
  }

  // Choose the likeliest token of every row, which is a sequence's last, and go on with it, `rounds` times; says how
  // often it did, for it stops where a row breaks. The tokens lie one round after the other.
  int decode(Step step, int rounds) {
    for (int round = 1;; round++) {
      forward(step);
      const bool is_broken = std::count(step.tokens, step.tokens + step.rows, BROKEN);
      if (round == rounds || is_broken) return round;
      for (int r = 0; r < step.rows; r++) step.ids[r] = step.tokens[r], step.positions[r]++, step.sequence[r].past++;
      step.tokens += step.rows;
    }
  }

 private:
  void pass(int me) {
    each_row(s->rows, [&](int r) {
      float* row = &x[(size_t)r * m.hidden];
      for (int i = 0; i < m.hidden; i++) row[i] = weight_at(m.embedding, s->ids[r], i);
    });
    for (int number = 0; number < m.layers; number++) layer(me, number);
    head(me);
  }

  void layer(int me, int number) {
    const Layer& l = m.layer[number];
    const int width = (m.heads + 2 * m.kv_heads) * m.d;
    const Rows y = rows_for(0, l.qkv, s->rows), mixed = rows_for(1, l.out, s->rows);
    const Rows z = rows_for(0, l.gate_up, s->rows), inner = rows_for(1, l.down, s->rows);
    auto add = [&](int r, int column, F16 v) {
      if (column >= m.hidden) return;
      float* at = &x[(size_t)r * m.hidden + column];
      store(at, load<F16>(at) + v);
    };
    each_row(s->rows, [&](int r) { put_normalised(r, l.attention_norm, y, r); });
    multiply(me, number, QKV, l.qkv, y, s->rows, [&](int r, int column, F16 v) {
      if (column < width) store(&qkv[(size_t)r * width + column], v);
    });
    if (m.is_float) attention<float>(me, number, l, mixed);
    else attention<bf16>(me, number, l, mixed);
    multiply(me, number, OUT, l.out, mixed, s->rows, add);
    each_row(s->rows, [&](int r) { put_normalised(r, l.mlp_norm, z, r); });
    F16 gate = {};
    multiply(me, number, GATE_UP, l.gate_up, z, s->rows, [&, gate](int r, int column, F16 v) mutable {
      if (column % BAND == 0) gate = silu(v);
      else if (column / 2 < m.inner) inner.put(r, (column - LANES) / 2, gate * v);
    });
    multiply(me, number, DOWN, l.down, inner, s->rows, add);
  }

  void head(int me) {
    if (s->hidden)
      each_row(s->rows, [&](int r) { put_normalised(r, m.norm, {(char*)s->hidden, m.hidden, true}, r); });
    if (!s->wanted) return;
    const Rows last = rows_for(0, m.head, s->wanted);
    each_row(s->wanted, [&](int w) { put_normalised(s->wanted_rows[w], m.norm, last, w); });
    multiply(me, -1, QKV, m.head, last, s->wanted, [&](int r, int column, F16 v) {
      float* at = s->logits + (size_t)r * m.vocabulary + column;
      const int left = m.vocabulary - column;
      if (left >= LANES) store(at, v);
      else if (left > 0) memcpy(at, &v, left * 4);
    });
    if (s->tokens)
      each_row(s->wanted, [&](int w) { s->tokens[w] = likeliest(s->logits + (size_t)w * m.vocabulary, m.vocabulary); });
  }

  // ---- rows

  template <class Work> void each_row(int rows, Work work) {
    pool.share(rows, pool.grain(rows), [&](int from, int to) {
      for (int r = from; r < to; r++) work(r);
    });
  }

  // Row `from` of x over its root mean square, times the weight.
  void put_normalised(int from, const float* weight, const Rows& y, int to) {
    const float* row = &x[(size_t)from * m.hidden];
    F16 squares = {};
    for (int i = 0; i < m.hidden; i += LANES) squares += load<F16>(row + i) * load<F16>(row + i);
    const float factor = 1 / std::sqrt(sum(squares) / m.hidden + m.epsilon);
    for (int i = 0; i < m.hidden; i += LANES) y.put(to, i, load<F16>(row + i) * factor * load<F16>(weight + i));
  }

  // Two buffers take turns: what a product reads, and what is written for the one after it.
  Rows rows_for(int turn, const Matrix& matrix, int count) {
    char* base = (char*)(((uintptr_t)activations[turn].data() + 63) & ~(uintptr_t)63);
    return {base, matrix.k, wants_float(matrix.kind, count)};
  }

  // ---- products

  template <class Use>
  void multiply(int me, int number, int projection, const Matrix& w, const Rows& in, int count, Use use) {
    if (number >= 0 && s->segments) {
      if (m.is_float) lower<float>(number, projection, in);
      else lower<bf16>(number, projection, in);
    }
    Room& room = *rooms[me];
    room.strip.resize((size_t)w.k * 64 + 64);
    char* strip_room = (char*)(((uintptr_t)room.strip.data() + 63) & ~(uintptr_t)63);
    if (in.is_float && w.kind >= INT8) room.bytes.take(in.floats(0, 0), count, w.k, w.kind);
    pool.share(w.bands, pool.grain(w.bands), [&](int from, int to) {
      for (int band = from; band < to; band++) {
        const char* strip = prepare_strip(w, band, count, strip_room);
        for (int r = 0; r < count; r += TILE_ROWS) {
          const int height = count - r < TILE_ROWS ? count - r : TILE_ROWS;
          product(w, band, in, room.bytes, r, height, strip, room.tile);
          if (w.bias) add_bias(w.bias + band * BAND, height, room.tile);
          if (number >= 0 && s->segments) raise(number, projection, band, r, height, room.tile);
          for (int i = 0; i < height; i++)
            for (int side = 0; side < 2; side++)
              use(r + i, band * BAND + side * LANES, load<F16>(room.tile + i * BAND + side * LANES));
        }
      }
    });
  }

  static void add_bias(const float* bias, int height, float* tile) {
    for (int i = 0; i < height * BAND; i++) tile[i] += bias[i % BAND];
  }

  // ---- adapters: `lower` makes low = x @ a.T for every row that has one, `raise` adds low @ b to a tile

  int most_ranks() const {
    int most = 0;
    for (int g = 0; g < s->segments; g++) most = std::max(most, s->segment[g].ranks);
    return most + 1;  // an odd number of ranks is read as an even one
  }

  template <class T> T* low_of(int r) { return (T*)&low[(size_t)r * ranks]; }

  template <class T> void lower(int number, int projection, const Rows& in) {
    pool.share(s->segments, 1, [&](int from, int to) {
      for (int g = from; g < to; g++) {
        const Segment& segment = s->segment[g];
        const Lora& part = segment.parts[number * 4 + projection];
        if (g + 1 < s->segments)  // another adapter's, far away
          for (int line = 0; line < 16; line++)
            __builtin_prefetch((const char*)s->segment[g + 1].parts[number * 4 + projection].a + 64 * line);
        for (int r = segment.start; r < segment.stop; r++) lower_row(part, in, r, low_of<T>(r));
      }
    });
  }

  template <class T> static void lower_row(const Lora& part, const Rows& in, int r, T* out) {
    const T* a = (const T*)part.a;
    int i = 0;
    for (; i + 8 <= part.rank; i += 8) project<8>(a + (size_t)i * in.k, in, r, out + i);
    for (; i + 2 <= part.rank; i += 2) project<2>(a + (size_t)i * in.k, in, r, out + i);
    for (; i < part.rank; i++) project<1>(a + (size_t)i * in.k, in, r, out + i);
    put(out + part.rank, 0);
  }

  void raise(int number, int projection, int band, int row, int height, float* tile) {
    for (int g = 0; g < s->segments; g++) {
      const Segment& segment = s->segment[g];
      const int from = std::max(segment.start, row), to = std::min(segment.stop, row + height);
      const Lora& part = segment.parts[number * 4 + projection];
      for (int r = from; part.rank && r < to; r++)
        for (int side = 0; side < 2; side++) {
          float* at = tile + (r - row) * BAND + side * LANES;
          if (m.is_float) raise_row(part, 2 * band + side, low_of<float>(r), at);
          else raise_row(part, 2 * band + side, low_of<bf16>(r), at);
        }
    }
  }

  // ---- attention

  template <class T> struct Place {
    T *keys, *values;
  };
  template <class T> Place<T> place(int number, int page, int head) const {
    const size_t at = number * (size_t)s->layer_stride + ((size_t)page * m.kv_heads + head) * PAGE * m.d * sizeof(T);
    return {(T*)(s->keys + at), (T*)(s->values + at)};
  }

  template <class T> void attention(int me, int number, const Layer& l, const Rows& mixed) {
    const int width = (m.heads + 2 * m.kv_heads) * m.d, group = m.heads / m.kv_heads;
    pool.share(s->sequences, 1, [&](int from, int to) {
      for (int q = from; q < to; q++) keep<T>(number, s->sequence[q], l);
    });
    const int tiles = all_tiles(s->sequences, group);
    pool.share(tiles * m.kv_heads, 1, [&](int from, int to) {
      for (int task = from; task < to; task++) {
        const int head = task % m.kv_heads;
        int tile = task / m.kv_heads, q = 0;
        while (tile >= tiles_of(q, group)) tile -= tiles_of(q++, group);
        attend_tile<T>(me, number, s->sequence[q], tile, head, group, width, l.window, mixed);
      }
    });
  }
  int tiles_of(int q, int group) const { return (s->sequence[q].count * group + QUERIES - 1) / QUERIES; }
  int all_tiles(int sequences, int group) const {
    int tiles = 0;
    for (int q = 0; q < sequences; q++) tiles += tiles_of(q, group);
    return tiles;
  }

  // Turn a sequence's queries and keys to their positions, and write keys and values to its pages.
  template <class T> void keep(int number, const Sequence& q, const Layer& l) {
    const int width = (m.heads + 2 * m.kv_heads) * m.d;
    for (int t = 0; t < q.count; t++) {
      float* row = &qkv[(size_t)(q.start + t) * width];
      const int position = q.past + t;
      for (int h = 0; h < m.heads + m.kv_heads; h++)
        turn_head(row + h * m.d, l.qk_norm ? l.qk_norm + h * m.d : nullptr, s->positions[q.start + t]);
      for (int h = 0; h < m.kv_heads; h++) {
        const Place<T> to = place<T>(number, q.pages[position / PAGE], h);
        write_token(to.keys, to.values, position % PAGE, m.d, row + (m.heads + h) * m.d,
                    row + (m.heads + m.kv_heads + h) * m.d);
      }
    }
  }

  void turn_head(float* head, const float* weight, int position) {
    const int d = m.d, half = d / 2;
    if (weight) {
      F16 squares = {};
      for (int i = 0; i < d; i += LANES) squares += load<F16>(head + i) * load<F16>(head + i);
      const float factor = 1 / std::sqrt(sum(squares) / d + m.epsilon);
      for (int i = 0; i < d; i += LANES) store(head + i, load<F16>(head + i) * factor * load<F16>(weight + i));
    }
    const float *cos = m.cos + (size_t)position * d, *sin = m.sin + (size_t)position * d;
    for (int i = 0; i < half; i++) {
      const float a = head[i], b = head[i + half];
      head[i] = a * cos[i] + b * sin[i];
      head[i + half] = b * cos[i + half] + a * sin[i + half];
    }
  }

  Scratch<float>& scratch(int me, float) { return rooms[me]->floats; }
  Scratch<bf16>& scratch(int me, bf16) { return rooms[me]->pairs; }

  template <class T>
  void attend_tile(int me, int number, const Sequence& q, int tile, int head, int group, int width, int window,
                   const Rows& mixed) {
    Scratch<T>& room = scratch(me, T{});
    const int offset = tile * QUERIES, rows = std::min(QUERIES, q.count * group - offset);
    for (int r = 0; r < rows; r++) {
      const int row = q.start + (offset + r) / group, h = head * group + (offset + r) % group;
      for (int i = 0; i < m.d; i += 16)
        narrow(room.q + r * m.d + i, load<F16>(&qkv[(size_t)row * width + h * m.d + i]));
    }
    attend<T>(room, rows, q.past, offset, group, m.d, window, m.scale,
              [&](int page) { return place<T>(number, q.pages[page], head); });
    for (int r = 0; r < rows; r++) {
      const int row = q.start + (offset + r) / group, h = head * group + (offset + r) % group;
      for (int i = 0; i < m.d; i += 16) mixed.put(row, h * m.d + i, load<F16>(room.out + r * m.d + i));
    }
  }

  const Model m;
  const Step* s = nullptr;
  Pool pool;
  std::vector<std::unique_ptr<Room>> rooms;
  std::vector<float> x, qkv, low;
  std::vector<char> activations[2];
  int ranks = 0;  // the largest of the step's adapters
};

}  // namespace

#if defined(__linux__) && HAS_TILES
#include <sys/syscall.h>
#include <unistd.h>
#endif

extern "C" {

// Ask the system for what the compiler was allowed to use; 0 when it grants it.
int bg_prepare() {
#if defined(__linux__) && HAS_TILES
  return (int)syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */);
#else
  return 0;
#endif
}

void* bg_open(const Model* model, int threads) { return new Engine(*model, threads); }
void bg_close(void* engine) { delete (Engine*)engine; }
int bg_decode(void* engine, const Step* step, int rounds) { return ((Engine*)engine)->decode(*step, rounds); }
void bg_forward(void* engine, const Step* step) { ((Engine*)engine)->forward(*step); }

void bg_pack_lora(const LoraJob* job) {
  if (job->is_float) pack_lora<float>(*job);
  else pack_lora<bf16>(*job);
}

// Pack blocks from:to of w [*, k] float32; rows[16 * block + lane] names the source row, or is negative.
void bg_pack(int kind, const float* w, int k, const int32_t* rows, int from, int to, char* data, float* scales) {
  const Matrix shape = {kind, k, 0, nullptr, nullptr, nullptr};
  for (int b = from; b < to; b++)
    pack_block(kind, w, k, rows + b * LANES, data + b * shape.block_bytes(),
               scales ? scales + (size_t)b * (shape.k / GROUP) * LANES : nullptr);
}
}
