// Threads that share one piece of work: they spin for a moment between its phases and sleep between pieces.
#pragma once
#include <atomic>
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
    if (active > 1) {
      job = &work;
      busy = active - 1;
      begin_round();
    }
    work(0);
    if (active > 1)
      for (int spins = 0; busy.load(std::memory_order_acquire) > 0; spins++) rest(spins);
  }

  // Wait until every active thread is here.
  void meet() {
    if (active == 1) {
      claimed[0] = claimed[1] = 0;
      return;
    }
    unsigned now = phase.load(std::memory_order_relaxed);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) == active - 1) {
      arrived.store(0, std::memory_order_relaxed);
      claimed[~now & 1].store(0, std::memory_order_relaxed);  // nobody looks at the next one yet
      phase.store(now + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; phase.load(std::memory_order_acquire) == now; spins++) rest(spins);
  }

  // Hand out items 0:count in small shares to whoever is free, so that a thread that the system has put aside
  // does not hold the others up. Every thread calls it, once between two meetings.
  template <class Work> void share(int count, int grain, Work work) {
    if (active == 1) {
      work(0, count);
      return;
    }
    auto& counter = claimed[phase.load(std::memory_order_relaxed) & 1];
    for (;;) {
      int from = counter.fetch_add(grain, std::memory_order_relaxed);
      if (from >= count) return;
      work(from, from + grain < count ? from + grain : count);
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
    if (spins > 4000) std::this_thread::yield();
  }

  void serve(int me) {
    unsigned seen = 0;
    for (;;) {
      for (int spins = 0; round.load(std::memory_order_acquire) == seen && spins < 20000; spins++) RELAX();
      round.wait(seen, std::memory_order_acquire);
      seen = round.load(std::memory_order_acquire);
      if (is_over) return;
      if (me >= (int)(seen & 255)) continue;
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
  alignas(64) std::atomic<int> arrived{0};
  alignas(64) std::atomic<unsigned> phase{0};
  alignas(64) std::atomic<int> claimed[2] = {};
};
