// SPDX-License-Identifier: Apache-2.0
// The thread that brings a disk up, one attempt after the other, beside the event loop. It is made
// once and with a small stack, and not for each attempt, because an attempt is due when the node may
// be waiting for this very disk to free memory.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <mutex>
#include <optional>

#include "plugins/common/unique_fd.hpp"
#include "plugins/iscsi/datapath/bring_up.hpp"

namespace gantry::iscsi {

inline constexpr size_t kAttacherStackBytes = 512 * 1024;

// Used from one thread, the loop's.
class Attacher {
 public:
  Attacher();
  Attacher(const Attacher&) = delete;
  // Cancels, and waits for the thread; longer only while a name is being looked up (Resolve).
  ~Attacher();

  // False: the kernel gives no thread or fd.
  bool Start();
  bool started() const { return started_; }
  // Readable when an attempt has ended.
  int fd() const { return done_.get(); }
  bool busy() const { return busy_; }
  // Not while busy. `announce` is called on the thread.
  void Begin(BringUpRequest request);
  // The attempt under way ends soon, most likely with an error.
  void Cancel();
  // Once for each attempt, when it has ended.
  std::optional<BringUpResult> Take();

 private:
  static void* Main(void* self);
  void Run();

  plugin::UniqueFd done_;
  plugin::UniqueFd cancel_;
  pthread_t thread_{};
  bool started_ = false;
  bool busy_ = false;

  std::mutex mutex_;
  std::condition_variable wake_;
  bool ending_ = false;
  std::optional<BringUpRequest> request_;
  std::optional<BringUpResult> result_;
};

}  // namespace gantry::iscsi
