// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/datapath/attacher.hpp"

#include <signal.h>
#include <sys/eventfd.h>

#include <utility>

namespace gantry::iscsi {

Attacher::Attacher() = default;

Attacher::~Attacher() {
  if (!started_) return;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  eventfd_write(cancel_.get(), 1);
  wake_.notify_one();
  pthread_join(thread_, nullptr);
}

bool Attacher::Start() {
  if (started_) return true;
  done_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  cancel_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!done_ || !cancel_) return false;
  // Signals are for the threads that were there before.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kAttacherStackBytes);
  started_ = pthread_create(&thread_, &attributes, &Attacher::Main, this) == 0;
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started_;
}

void Attacher::Begin(BringUpRequest request) {
  busy_ = true;
  {
    const std::lock_guard lock(mutex_);
    request_ = std::move(request);
  }
  wake_.notify_one();
}

void Attacher::Cancel() {
  if (busy_) eventfd_write(cancel_.get(), 1);
}

std::optional<BringUpResult> Attacher::Take() {
  const std::lock_guard lock(mutex_);
  if (!result_) return std::nullopt;
  eventfd_t count = 0;
  eventfd_read(done_.get(), &count);
  eventfd_read(cancel_.get(), &count);
  busy_ = false;
  return std::exchange(result_, std::nullopt);
}

void* Attacher::Main(void* self) {
  static_cast<Attacher*>(self)->Run();
  return nullptr;
}

void Attacher::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return ending_ || request_; });
    if (ending_) return;
    const BringUpRequest request = *std::exchange(request_, std::nullopt);
    lock.unlock();
    BringUpResult result = BringUp(request, cancel_.get());
    lock.lock();
    result_ = std::move(result);
    eventfd_write(done_.get(), 1);
  }
}

}  // namespace gantry::iscsi
