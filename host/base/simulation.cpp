// SPDX-License-Identifier: Apache-2.0
#include "host/base/simulation.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#elif defined(GANTRY_SANITIZED_THREADS)
#include <sanitizer/tsan_interface.h>
#endif

namespace gantry::base {

struct Simulation::Fiber {
  uint64_t id = 0;
  std::string name;
  void* owner = nullptr;
  std::function<void()> body;
  boost::context::fiber context;
  Queue* waits_in = nullptr;
  std::optional<TimePoint> wakes_at;
  bool woken = false;
  bool done = false;
  const char* what = "its first turn";
  void* fake_stack = nullptr;
  const void* stack = nullptr;
  size_t stack_bytes = 0;
  void* watched_as = nullptr;  // ThreadSanitizer's handle
};

namespace {

constexpr size_t kStackBytes = size_t{256} * 1024;
constexpr size_t kGuardBytes = 4096;
constexpr size_t kStacksKeptMax = 512;
constexpr int kFdFirst = 1 << 30;
constexpr std::chrono::microseconds kStepUs{1};

Simulation* current = nullptr;

// Stacks with a page below that nobody may touch, used again by later threads.
class Stacks {
 public:
  using traits_type = boost::context::stack_traits;

  static boost::context::stack_context allocate() {
    void* bottom = nullptr;
    if (!Kept().empty()) {
      bottom = Kept().back();
      Kept().pop_back();
    } else {
      bottom = mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (bottom == MAP_FAILED || mprotect(bottom, kGuardBytes, PROT_NONE) != 0)
        throw std::bad_alloc();
    }
    boost::context::stack_context stack;
    stack.size = kStackBytes;
    stack.sp = static_cast<char*>(bottom) + kGuardBytes + kStackBytes;
    return stack;
  }
  static void deallocate(boost::context::stack_context& stack) noexcept {
    void* bottom = static_cast<char*>(stack.sp) - kStackBytes - kGuardBytes;
    if (Kept().size() < kStacksKeptMax)
      Kept().push_back(bottom);
    else
      munmap(bottom, kStackBytes + kGuardBytes);
  }

 private:
  static std::vector<void*>& Kept() {
    static std::vector<void*> kept;
    return kept;
  }
};

// Tell the sanitizers which stack comes next; nothing elsewhere.
void BeforeSwitch([[maybe_unused]] void** fake_stack, [[maybe_unused]] const void* stack,
                  [[maybe_unused]] size_t bytes, [[maybe_unused]] void* watched_as) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fake_stack, stack, bytes);
#elif defined(GANTRY_SANITIZED_THREADS)
  __tsan_switch_to_fiber(watched_as, 0);
#endif
}
void AfterSwitch([[maybe_unused]] void* fake_stack, [[maybe_unused]] const void** left,
                 [[maybe_unused]] size_t* left_bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, left, left_bytes);
#endif
}
void* Watch() {
#if defined(GANTRY_SANITIZED_THREADS)
  return __tsan_create_fiber(0);
#else
  return nullptr;
#endif
}
void Unwatch([[maybe_unused]] void* watched_as) {
#if defined(GANTRY_SANITIZED_THREADS)
  __tsan_destroy_fiber(watched_as);
#endif
}
void* WatchedAs() {
#if defined(GANTRY_SANITIZED_THREADS)
  return __tsan_get_current_fiber();
#else
  return nullptr;
#endif
}

// splitmix64 (Steele, Lea, Flood 2014): short, and the same everywhere.
uint64_t Mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31);
}

}  // namespace

Simulation::Simulation(uint64_t seed)
    : seed_(seed),
      random_(Mix(seed + 1)),
      // Not at zero: code that subtracts from the clock must not come out before its epoch.
      now_(std::chrono::hours(1)),
      next_fd_(kFdFirst) {
  if (current != nullptr) Fail("two simulations at once");
  current = this;
}

Simulation::~Simulation() { current = nullptr; }

Simulation& Simulation::Current() {
  if (current == nullptr) {
    std::fputs("a simulated lock, thread or clock was used without a simulation\n", stderr);
    std::abort();
  }
  return *current;
}

uint64_t Simulation::Below(uint64_t bound) {
  random_ += 0x9e3779b97f4a7c15U;
  return bound <= 1 ? 0 : Mix(random_) % bound;
}

void Simulation::Trace(const std::string& line) {
  if (!tracing_) return;
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(now_.time_since_epoch() -
                                                                        std::chrono::hours(1))
                      .count();
  std::fprintf(stderr, "%10lld.%03lld ms  %-18s %s\n", static_cast<long long>(us / 1000),
               static_cast<long long>(us % 1000),
               running_ != nullptr ? running_->name.c_str() : "-", line.c_str());
}

void Simulation::Fail(const std::string& what) {
  tracing_ = true;
  Trace("FAILED: " + what);
  for (const auto& [id, fiber] : fibers_) {
    if (fiber.get() == running_) continue;
    std::fprintf(stderr, "    %-18s waits for %s\n", fiber->name.c_str(), fiber->what);
  }
  std::fprintf(stderr, "seed %llu: %s\n", static_cast<unsigned long long>(seed_), what.c_str());
  std::fflush(nullptr);
  std::_Exit(1);
}

void Simulation::Start(std::function<void()> body, std::string name) {
  auto made = std::make_unique<Fiber>();
  Fiber& fiber = *made;
  fiber.id = next_id_++;
  fiber.name = std::move(name) + "#" + std::to_string(fiber.id);
  fiber.owner = owner();
  fiber.body = std::move(body);
  auto stack = Stacks::allocate();
  fiber.stack = static_cast<char*>(stack.sp) - stack.size;
  fiber.stack_bytes = stack.size;
  fiber.watched_as = Watch();
  fiber.context = boost::context::fiber(
      std::allocator_arg, boost::context::preallocated(stack.sp, stack.size, stack), Stacks(),
      [this, &fiber](boost::context::fiber&& back) {
        AfterSwitch(nullptr, &scheduler_stack_, &scheduler_stack_bytes_);
        scheduler_ = std::move(back);
        fiber.body();
        fiber.body = nullptr;
        fiber.done = true;
        BeforeSwitch(nullptr, scheduler_stack_, scheduler_stack_bytes_, scheduler_watched_as_);
        return std::move(scheduler_);
      });
  fibers_.emplace(fiber.id, std::move(made));
  runnable_.push_back(&fiber);
}

void* Simulation::owner() const { return running_ != nullptr ? running_->owner : nullptr; }

void Simulation::set_owner(void* owner) {
  if (running_ != nullptr) running_->owner = owner;
}

void Simulation::Rename(std::string name) {
  if (running_ != nullptr) running_->name = std::move(name) + "#" + std::to_string(running_->id);
}

void Simulation::Resume(Fiber& fiber) {
  running_ = &fiber;
  scheduler_watched_as_ = WatchedAs();
  BeforeSwitch(&scheduler_fake_stack_, fiber.stack, fiber.stack_bytes, fiber.watched_as);
  fiber.context = std::move(fiber.context).resume();
  AfterSwitch(scheduler_fake_stack_, nullptr, nullptr);
  running_ = nullptr;
  if (!fiber.done) return;
  Unwatch(fiber.watched_as);
  fibers_.erase(fiber.id);
}

void Simulation::SwitchOut() {
  Fiber& self = *running_;
  BeforeSwitch(&self.fake_stack, scheduler_stack_, scheduler_stack_bytes_, scheduler_watched_as_);
  scheduler_ = std::move(scheduler_).resume();
  AfterSwitch(self.fake_stack, &scheduler_stack_, &scheduler_stack_bytes_);
}

void Simulation::FireTimers() {
  while (!timers_.empty() && timers_.begin()->first <= now_) {
    Fiber& fiber = *fibers_.at(timers_.begin()->second);
    timers_.erase(timers_.begin());
    if (fiber.waits_in != nullptr) std::erase(*fiber.waits_in, &fiber);
    fiber.waits_in = nullptr;
    fiber.wakes_at.reset();
    runnable_.push_back(&fiber);
  }
}

void Simulation::Run(std::function<void()> body) {
  const TimePoint latest = now_ + kSimulatedHoursMax;
  Start(std::move(body), "main");
  while (!fibers_.empty()) {
    FireTimers();
    if (runnable_.empty()) {
      if (timers_.empty()) Fail("deadlock: nobody can ever run again");
      now_ = timers_.begin()->first;
      if (now_ > latest) Fail("no end within the hours that a run may take");
      continue;
    }
    const size_t chosen = Below(runnable_.size());
    Fiber& fiber = *runnable_[chosen];
    runnable_[chosen] = runnable_.back();
    runnable_.pop_back();
    now_ += kStepUs;
    if (++steps_ > kSimulatedStepsMax) Fail("a thread spins: too many steps");
    digest_ = Mix(digest_ ^ fiber.id ^ static_cast<uint64_t>(ToNanoseconds(now_)));
    Resume(fiber);
  }
}

void Simulation::Point() {
  if (running_ == nullptr) return;
  if (habits_.stall_one_in != 0 && OneIn(habits_.stall_one_in)) {
    Sleep(std::chrono::microseconds(Below(static_cast<uint64_t>(habits_.stall_max.count()))));
    return;
  }
  if (!OneIn(habits_.switch_one_in)) return;
  running_->what = "its turn";
  runnable_.push_back(running_);
  SwitchOut();
}

void Simulation::Sleep(Duration time) {
  Queue nobody;
  Block(nobody, now_ + time, "time to pass");
}

bool Simulation::Block(Queue& queue, std::optional<TimePoint> deadline, const char* what) {
  if (running_ == nullptr) Fail(std::string("waits outside of a thread for ") + what);
  Fiber& self = *running_;
  self.what = what;
  self.waits_in = &queue;
  self.woken = false;
  queue.push_back(&self);
  if (deadline && *deadline < TimePoint::max()) {
    self.wakes_at = deadline;
    timers_.emplace(*deadline, self.id);
  }
  SwitchOut();
  return self.woken;
}

void Simulation::WakeOne(Queue& queue) {
  if (queue.empty()) return;
  const size_t chosen = Below(queue.size());
  Fiber& fiber = *queue[chosen];
  queue.erase(queue.begin() + static_cast<std::ptrdiff_t>(chosen));
  if (fiber.wakes_at) timers_.erase({*fiber.wakes_at, fiber.id});
  fiber.wakes_at.reset();
  fiber.waits_in = nullptr;
  fiber.woken = true;
  fiber.what = "its turn";
  runnable_.push_back(&fiber);
}

void Simulation::WakeAll(Queue& queue) {
  while (!queue.empty()) WakeOne(queue);
}

int Simulation::NewFd() {
  readable_[next_fd_] = false;
  return next_fd_++;
}

void Simulation::SetReadable(int fd, bool is_readable) {
  const auto found = readable_.find(fd);
  if (found == readable_.end()) return;
  found->second = is_readable;
  if (is_readable) WakeAll(pollers_);
}

bool Simulation::IsReadable(int fd) const {
  const auto found = readable_.find(fd);
  return found != readable_.end() && found->second;
}

}  // namespace gantry::base
