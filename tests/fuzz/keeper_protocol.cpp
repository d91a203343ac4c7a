// SPDX-License-Identifier: Apache-2.0
// A datagram on a keeper's socket, from gantryd or from a data path, and the answer of a job's
// process: what is taken is sent on and taken again as the same.
//
// Input: one datagram.
#include "host/wire/keeper_protocol.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "host/wire/job_reply.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace gantry;  // NOLINT(google-build-using-namespace)

struct Pair {
  base::UniqueFd ours;
  base::UniqueFd theirs;
};

// One for the life of the process: every datagram that goes in comes out.
const Pair& Sockets() {
  static const Pair pair = [] {
    std::array<int, 2> fds{};
    GANTRY_FUZZ_EXPECT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.data()) == 0);
    return Pair{base::UniqueFd(fds[0]), base::UniqueFd(fds[1])};
  }();
  return pair;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto output = wire::ParseJobReply(bytes))
    GANTRY_FUZZ_EXPECT(bytes.ends_with(*output));
  else
    GANTRY_FUZZ_EXPECT(output.error().code != base::Code::kOk &&
                       base::IsKnown(output.error().code));

  // A datagram of no bytes reads like the end of the stream.
  if (size == 0 || size > 2 * wire::kKeeperMessageBytesMax) return 0;
  const auto& [ours, theirs] = Sockets();
  GANTRY_FUZZ_EXPECT(send(theirs.get(), data, size, MSG_NOSIGNAL) == static_cast<ssize_t>(size));
  const auto received = wire::ReceiveKeeper(ours.get());
  if (!received) {
    GANTRY_FUZZ_EXPECT(received.error().code == base::Code::kInternal);
    return 0;
  }
  GANTRY_FUZZ_EXPECT(received->has_value());
  const auto& message = **received;
  GANTRY_FUZZ_EXPECT(message.fields.size() <= wire::kKeeperFieldsMax && message.fds.empty());
  for (const auto& [tag, text] : message.fields) {
    GANTRY_FUZZ_EXPECT(message.Text(tag).size() <= wire::kKeeperMessageBytesMax);
    (void)message.Number(tag);
  }
  GANTRY_FUZZ_EXPECT(wire::SendKeeper(theirs.get(), message).has_value());
  const auto again = wire::ReceiveKeeper(ours.get());
  GANTRY_FUZZ_EXPECT(again && *again);
  GANTRY_FUZZ_EXPECT((*again)->kind == message.kind && (*again)->id == message.id &&
                     (*again)->code == message.code && (*again)->fields == message.fields);
  return 0;
}
