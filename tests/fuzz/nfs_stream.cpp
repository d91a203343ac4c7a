// SPDX-License-Identifier: Apache-2.0
// A server's end of a TCP connection: records cut into fragments, fragments cut by the network,
// xids that nobody asked for.
//
// Input: the size of the pieces, then the stream. The calls under way have the xids 1 to 4.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>

#include "plugins/common/unique_fd.hpp"
#include "plugins/nfs/rpc/nfs3.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace gantry;  // NOLINT(google-build-using-namespace)

constexpr uint32_t kCalls = 4;
constexpr nfs::StreamSizes kSizes{16 * 1024, 16 * 1024, 8};
constexpr size_t kPage = 4096;

nfs::FileHandle Handle() {
  nfs::FileHandle handle;
  handle.size = 8;
  return handle;
}

struct Connection {
  Connection() {
    GANTRY_FUZZ_EXPECT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) == 0);
    const auto calls = {
        nfs::Submit(stream, nfs::GetAttr{Handle()}, credentials, 1, nfs::kNoDeadline),
        nfs::Submit(stream, nfs::Lookup{Handle(), "name"}, credentials, 2, nfs::kNoDeadline),
        nfs::Submit(stream, nfs::Read{Handle(), 0, 4096}, credentials, 3, nfs::kNoDeadline),
        nfs::Submit(stream, nfs::ReadDirPlus{Handle()}, credentials, 4, nfs::kNoDeadline)};
    for (const auto& call : calls) GANTRY_FUZZ_EXPECT(call && *call <= kCalls);
    GANTRY_FUZZ_EXPECT(stream.OnWritable(fds[0]).has_value());
  }
  ~Connection() {
    close(fds[0]);
    close(fds[1]);
  }

  std::array<int, 2> fds{};
  const size_t bytes = (nfs::RpcStream::RegionBytes(kSizes) + kPage - 1) / kPage * kPage;
  const std::unique_ptr<std::byte, decltype(&std::free)> memory{
      static_cast<std::byte*>(std::aligned_alloc(kPage, bytes)), &std::free};
  nfs::RpcStream stream = *nfs::RpcStream::Create({memory.get(), bytes}, kSizes, 1);
  const nfs::Credentials credentials = *nfs::Credentials::Sys(0, 0, {});
};

void Decode(const nfs::Reply& reply) {
  switch (reply.tag) {
    case 1:
      return void(nfs::DecodeReply<nfs::GetAttr>(reply));
    case 2:
      return void(nfs::DecodeReply<nfs::Lookup>(reply));
    case 3:
      return void(nfs::DecodeReply<nfs::Read>(reply));
    default:
      return void(nfs::DecodeReply<nfs::ReadDirPlus>(reply));
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const size_t piece = std::max<size_t>(size_t{16} * input.Byte(), 1);
  Connection connection;
  auto& stream = connection.stream;
  std::array<int, kCalls + 1> answered{};
  const auto on_reply = [&](const nfs::Reply& reply) {
    GANTRY_FUZZ_EXPECT(reply.tag >= 1 && reply.tag <= kCalls && reply.xid == reply.tag);
    GANTRY_FUZZ_EXPECT(++answered[reply.tag] == 1, "a call was answered twice");
    Decode(reply);
  };
  while (!input.empty() && !stream.broken()) {
    const auto bytes = input.Take(piece);
    GANTRY_FUZZ_EXPECT(send(connection.fds[1], bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
                       static_cast<ssize_t>(bytes.size()));
    if (const auto read = stream.OnReadable(connection.fds[0], on_reply); !read)
      GANTRY_FUZZ_EXPECT(stream.broken() && read.error().failure == nfs::Failure::kMalformed,
                         read.error().message);
  }
  const auto done = std::count(answered.begin(), answered.end(), 1);
  GANTRY_FUZZ_EXPECT(stream.outstanding() == kCalls - static_cast<uint32_t>(done));
  uint32_t failed = 0;
  stream.FailAll([&](const nfs::Unanswered& call) {
    GANTRY_FUZZ_EXPECT(answered.at(call.tag) == 0 && call.sent);
    ++failed;
  });
  GANTRY_FUZZ_EXPECT(failed == kCalls - static_cast<uint32_t>(done));
  return 0;
}
