// SPDX-License-Identifier: Apache-2.0
// The description that a data path is started with: whatever is read can be sealed and read again.
//
// Input: the content of the memfd.
#include "host/wire/data_path_description.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "host/base/file.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace gantry;  // NOLINT(google-build-using-namespace)

std::string Content(int fd) {
  std::string bytes(wire::kDescriptionBytesMax, '\0');
  const ssize_t n = pread(fd, bytes.data(), bytes.size(), 0);
  GANTRY_FUZZ_EXPECT(n >= 0);
  bytes.resize(static_cast<size_t>(n));
  return bytes;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  base::UniqueFd fd(memfd_create("description", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  GANTRY_FUZZ_EXPECT(fd);
  GANTRY_FUZZ_EXPECT(
      base::WriteAll(fd.get(), {reinterpret_cast<const char*>(data), size}).has_value());
  GANTRY_FUZZ_EXPECT(!wire::ReadDescription(fd.get()), "it is not sealed yet");
  constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  GANTRY_FUZZ_EXPECT(fcntl(fd.get(), F_ADD_SEALS, kSeals) == 0);
  const auto read = wire::ReadDescription(fd.get());
  if (!read) return 0;
  const auto sealed = wire::SealDescription(*read);
  GANTRY_FUZZ_EXPECT(sealed.has_value());
  const auto again = wire::ReadDescription(sealed->get());
  GANTRY_FUZZ_EXPECT(again.has_value());
  // An encoding has one spelling, so that nothing was read as something else than it said.
  const auto resealed = wire::SealDescription(*again);
  GANTRY_FUZZ_EXPECT(resealed.has_value());
  GANTRY_FUZZ_EXPECT(Content(sealed->get()) == Content(resealed->get()));
  GANTRY_FUZZ_EXPECT(read->uid == again->uid && read->secrets.size() == again->secrets.size());
  GANTRY_FUZZ_EXPECT(Content(sealed->get()).size() == size,
                     "a number or a key was read as another");
  return 0;
}
