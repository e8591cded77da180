// Threads that share one piece of work: they spin for a moment between its phases and sleep between pieces.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#define RELAX() _mm_pause()
#else
#define RELAX()
#endif

class Pool {
 public:
  explicit Pool(int threads) : size(threads) {
    for (int i = 1; i < threads; i++) workers.emplace_back([this, i] { serve(i); });
  }
  ~Pool() {
    is_over = true;
    begin_round();
    for (auto& worker : workers) worker.join();
  }

  // Run work(thread) on the first `threads` threads, the caller's being number 0; returns when all have ended.
  void run(int threads, const std::function<void(int)>& work) {
    active = threads < size ? threads : size;
    here = {(uint32_t)(state.load(std::memory_order_relaxed) >> 32), active};
    if (active > 1) {
      first = here.phase;
      job = &work;
      busy = active - 1;
      begin_round();
    }
    work(0);
    if (active > 1)
      for (int spins = 0; busy.load(std::memory_order_acquire) > 0; spins++) rest(spins);
  }

  // One phase: items 0:count in small shares to whoever is free; returns when all are done. Every thread calls it
  // with the same count. What counts is the work and not who is here: a thread that the system has put aside holds
  // up no phase but the one in which it has taken a share.
  template <class Work> void share(int count, int grain, Work work) {
    if (count == 0) return;
    if (here.active == 1) return work(0, count);
    const uint32_t phase = here.phase++;
    for (uint64_t now = state.load(std::memory_order_acquire); now >> 32 == phase;) {
      const int from = (int)(uint32_t)now, to = from + grain < count ? from + grain : count;
      if (from >= count) {
        for (int spins = 0; state.load(std::memory_order_acquire) >> 32 == phase; spins++) rest(spins);
        return;
      }
      if (!state.compare_exchange_weak(now, now + (to - from), std::memory_order_acq_rel)) continue;
      work(from, to);
      if (done.fetch_add(to - from, std::memory_order_acq_rel) + to - from == count) {
        done.store(0, std::memory_order_relaxed);
        state.store((uint64_t)(phase + 1) << 32, std::memory_order_release);
        return;
      }
      now = state.load(std::memory_order_acquire);
    }
  }

  int grain(int count) const {
    int share = count / (active * 6);
    return share > 1 ? share : 1;
  }

  const int size;  // at most 255

 private:
  // A round's number and how many threads take part in it, in one word.
  void begin_round() {
    round.store(((round.load(std::memory_order_relaxed) >> 8) + 1) << 8 | active, std::memory_order_release);
    round.notify_all();
  }

  static void rest(int spins) {
    RELAX();
    if (spins > 500) std::this_thread::yield();
  }

  void serve(int me) {
    unsigned seen = 0;
    for (;;) {
      for (int spins = 0; round.load(std::memory_order_acquire) == seen && spins < 20000; spins++) RELAX();
      round.wait(seen, std::memory_order_acquire);
      seen = round.load(std::memory_order_acquire);
      if (is_over) return;
      if (me >= (int)(seen & 255)) continue;
      here = {first, (int)(seen & 255)};
      (*job)(me);
      busy.fetch_sub(1, std::memory_order_release);
    }
  }

  std::vector<std::thread> workers;
  const std::function<void(int)>* job = nullptr;
  int active = 1;
  std::atomic<bool> is_over{false};
  alignas(64) std::atomic<unsigned> round{0};
  alignas(64) std::atomic<int> busy{0};
  alignas(64) std::atomic<uint64_t> state{0};  // the phase, and below it the first item that nobody has taken
  alignas(64) std::atomic<int> done{0};
  uint32_t first = 0;

  struct Here {  // where this thread is
    uint32_t phase;
    int active;
  };
  static inline thread_local Here here{0, 1};
};
