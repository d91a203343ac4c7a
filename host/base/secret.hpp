// SPDX-License-Identifier: Apache-2.0
// Bytes that must not outlive their use: wiped when freed, kept out of swap and core dumps, and not
// printable by accident (DESIGN law: secrets reach no log, error, disk or core).
// Whole pages of their own rather than malloc, because mlock and MADV_DONTDUMP act on pages: the
// munlock of one secret must not unlock its neighbour on the same page.
#pragma once

#include <cstddef>
#include <iosfwd>
#include <span>
#include <string_view>

namespace gantry::base {

// Overwrites with zeros; the compiler may not leave it out (explicit_bzero(3)).
void Wipe(std::span<char> bytes);

// A movable byte buffer. Not thread-safe. Throws std::bad_alloc when there is no memory.
class SecretBytes {
 public:
  SecretBytes() = default;
  explicit SecretBytes(std::string_view content);
  SecretBytes(SecretBytes&& other) noexcept;
  SecretBytes& operator=(SecretBytes&& other) noexcept;
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;
  ~SecretBytes() { Clear(); }

  // Keeps the content up to the new size; bytes gained are zero, bytes lost are wiped, and so is a
  // buffer that became too small.
  void Resize(size_t size);
  // Wipes and frees.
  void Clear();

  char* data() { return data_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // Valid until the next non-const call. Whoever copies from it takes over the duty to wipe.
  std::string_view view() const { return {data_, size_}; }
  // Whether the pages are locked in memory. mlock is best effort: an unprivileged process may lock
  // RLIMIT_MEMLOCK bytes only (8 MiB by default since Linux 5.16, 64 KiB before); beyond that the
  // buffer works, but may be swapped.
  bool locked() const { return locked_; }

  friend std::ostream& operator<<(std::ostream&, const SecretBytes&) = delete;

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;  // a multiple of the page size
  bool locked_ = false;
};

}  // namespace gantry::base
