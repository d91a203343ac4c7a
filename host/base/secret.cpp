// SPDX-License-Identifier: Apache-2.0
#include "host/base/secret.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace gantry::base {

void Wipe(std::span<char> bytes) {
  if (!bytes.empty()) explicit_bzero(bytes.data(), bytes.size());
}

SecretBytes::SecretBytes(std::string_view content) {
  Resize(content.size());
  if (!content.empty()) std::memcpy(data_, content.data(), content.size());
}

SecretBytes::SecretBytes(SecretBytes&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      capacity_(std::exchange(other.capacity_, 0)),
      locked_(std::exchange(other.locked_, false)) {}

SecretBytes& SecretBytes::operator=(SecretBytes&& other) noexcept {
  if (this != &other) {
    Clear();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    capacity_ = std::exchange(other.capacity_, 0);
    locked_ = std::exchange(other.locked_, false);
  }
  return *this;
}

void SecretBytes::Resize(size_t size) {
  if (size <= capacity_) {
    if (size < size_) Wipe({data_ + size, size_ - size});
    size_ = size;
    return;
  }
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  // Doubled when it grows a second time, so that appending chunks is linear.
  const size_t wanted = std::max(size, capacity_ * 2);
  const size_t capacity = (wanted + page - 1) / page * page;
  void* pages = mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) throw std::bad_alloc();
  // Both are hardening on top of the wipe: a kernel that refuses them is no reason to fail a call.
  (void)madvise(pages, capacity, MADV_DONTDUMP);
  const bool locked = mlock(pages, capacity) == 0;
  if (size_ > 0) std::memcpy(pages, data_, size_);
  Clear();
  data_ = static_cast<char*>(pages);
  size_ = size;
  capacity_ = capacity;
  locked_ = locked;
}

void SecretBytes::Clear() {
  if (data_ == nullptr) return;
  Wipe({data_, size_});
  munmap(data_, capacity_);  // munmap(2) unlocks too
  data_ = nullptr;
  size_ = capacity_ = 0;
  locked_ = false;
}

}  // namespace gantry::base
