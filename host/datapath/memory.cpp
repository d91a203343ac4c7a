// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/memory.hpp"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

namespace gantry::datapath {

base::Result<Mapping> Mapping::Shared(int fd, size_t offset, size_t bytes, bool writable) {
  const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  void* data = mmap(nullptr, bytes, protection, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (data == MAP_FAILED) return base::FailErrno(errno, "map shared memory");
  return Mapping(static_cast<char*>(data), bytes);
}

base::Result<Mapping> Mapping::Anonymous(size_t bytes) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return base::FailErrno(errno, "map memory");
  return Mapping(static_cast<char*>(data), bytes);
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  return *this;
}

Mapping::~Mapping() {
  if (data_ != nullptr) munmap(data_, size_);
}

base::Status Populate(char* data, size_t bytes) {
  while (madvise(data, bytes, MADV_POPULATE_WRITE) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    return base::FailErrno(errno, "make memory present");
  }
  return {};
}

base::Status PopulateWhatIsThere(char* data, size_t bytes) {
  std::vector<unsigned char> pages(bytes / kPageBytes);
  if (mincore(data, bytes, pages.data()) != 0)
    return base::FailErrno(errno, "look which memory is there");
  const auto is_there = [](unsigned char page) { return (page & 1) != 0; };
  for (auto begin = pages.begin(); begin != pages.end();) {
    begin = std::find_if(begin, pages.end(), is_there);
    const auto end = std::find_if_not(begin, pages.end(), is_there);
    if (begin != end)
      GANTRY_TRY(Populate(data + (begin - pages.begin()) * static_cast<ptrdiff_t>(kPageBytes),
                          static_cast<size_t>(end - begin) * kPageBytes));
    begin = end;
  }
  return {};
}

bool Lock(char* data, size_t bytes) { return mlock(data, bytes) == 0; }

bool LockWhenPresent(char* data, size_t bytes) { return mlock2(data, bytes, MLOCK_ONFAULT) == 0; }

base::Status LockProcess(size_t bytes_max) {
  if (mlockall(MCL_CURRENT) != 0) return base::FailErrno(errno, "mlockall");
  if (mlockall(MCL_FUTURE | MCL_ONFAULT) != 0) return base::FailErrno(errno, "mlockall for later");
  // Asked of the kernel, as a capability counts beside the limit.
  void* room =
      mmap(nullptr, bytes_max, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) {
    const int error = errno;
    munlockall();
    return base::FailErrno(error, "lock " + std::to_string(bytes_max) + " bytes");
  }
  munmap(room, bytes_max);
  return {};
}

base::Status GrowFile(int fd, size_t bytes) {
  struct stat status {};
  if (fstat(fd, &status) != 0) return base::FailErrno(errno, "fstat shared memory");
  if (static_cast<size_t>(status.st_size) >= bytes) return {};
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0)
    return base::FailErrno(errno, "grow shared memory");
  return {};
}

}  // namespace gantry::datapath
