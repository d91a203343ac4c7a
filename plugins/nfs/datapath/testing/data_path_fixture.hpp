// SPDX-License-Identifier: Apache-2.0
// For tests: a volume opened from a ScriptedServer, and the answers it gives.
#pragma once

#include "plugins/nfs/datapath/testing/scripted_server.hpp"

namespace gantry::nfs::test {

inline constexpr uint32_t kNoEntStatus = 2;
inline constexpr uint32_t kExistStatus = 17;
inline constexpr uint32_t kBadCookieStatus = 10003;
inline constexpr uint32_t kNotSuppStatus = 10004;
inline constexpr uint32_t kServerFaultStatus = 10006;
inline constexpr uint32_t kJukeboxStatus = 10008;

inline Bytes NoWcc() { return Xdr().U32(0).U32(0).U32(0).bytes; }
inline Bytes Changed() { return Xdr().U32(0).U32(0).U32(1).Fattr().bytes; }
inline Bytes Made(std::string_view handle) {
  return Xdr().U32(0).U32(1).Opaque(handle).U32(1).Fattr().U32(0).U32(0).bytes;
}
inline Bytes Written(uint32_t count, uint32_t stable = 2, std::string_view verifier = "verifier") {
  return Xdr().U32(0).U32(0).U32(0).U32(count).U32(stable).Raw(verifier).bytes;
}
inline Bytes Data(std::string_view data, bool eof) {
  return Xdr()
      .U32(0)
      .U32(0)
      .U32(static_cast<uint32_t>(data.size()))
      .U32(eof ? 1 : 0)
      .Opaque(data)
      .bytes;
}
// Of READ and WRITE: the file handle here is always 4 bytes.
inline uint64_t OffsetOf(const FakeCall& call) {
  return uint64_t{WordAt(call.arguments, 8)} << 32 | WordAt(call.arguments, 12);
}
inline uint32_t CountOf(const FakeCall& call) { return WordAt(call.arguments, 16); }

class DataPathFixture : public testing::Test {
 protected:
  // Its thread may still answer a call of the volume's, out of what a test keeps.
  void TearDown() override { server_.Stop(); }
  void Open(Volume::Parameters more = {}) {
    auto parameters = server_.Parameters();
    more.merge(parameters);
    const Ended ended = volume_.Open(more);
    ASSERT_EQ(ended.error_number, 0) << volume_.log();
    ASSERT_EQ(ended.handle, "root");
  }
  // The number of calls of a procedure is reached.
  bool Sees(uint32_t procedure, size_t count,
            std::chrono::milliseconds time = std::chrono::seconds(10)) {
    return host_.Run([&] { return server_.Seen(procedure).size() >= count; }, time);
  }
  gantry_op Mkdir(const std::string& name) {
    return volume_.Make(&NfsDataPath::Mkdir, "root", name, S_IFDIR | 0755);
  }
  gantry_op Unlink(const std::string& name) {
    return volume_.Name(&NfsDataPath::Unlink, "root", name);
  }

  ScriptedServer server_;
  FakeHost host_;
  Volume volume_{host_};
};

}  // namespace gantry::nfs::test
