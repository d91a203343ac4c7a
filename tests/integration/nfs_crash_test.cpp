// SPDX-License-Identifier: Apache-2.0
// kill -9 of the worker, and of gantryd, at every call that the record protocol makes to the server:
// once before the call gets there, and once after it was executed and before its reply is seen. A
// retry then makes one volume, or deletes it whole, and nothing is left over.
#include "tests/integration/nfs_crash.hpp"

namespace gantry::itest {
namespace {

TEST_F(NfsCrash, AWorkerKilledBeforeAnyCallLeavesOneVolumeAndNoOrphan) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  CrashEverywhere(
      Stage::kRequest, [this] { KillWorker(); }, [] {}, [this] { RestartHost(); });
}

TEST_F(NfsCrash, AWorkerKilledBeforeAnyReplyLeavesOneVolumeAndNoOrphan) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  CrashEverywhere(
      Stage::kReply, [this] { KillWorker(); }, [] {}, [this] { RestartHost(); });
}

TEST_F(NfsCrash, GantrydKilledBeforeAnyCallLeavesOneVolumeAndNoOrphan) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  CrashEverywhere(
      Stage::kRequest, [this] { KillHost(); }, [this] { RestartHost(); }, [] {});
}

TEST_F(NfsCrash, GantrydKilledBeforeAnyReplyLeavesOneVolumeAndNoOrphan) {
  ASSERT_NO_FATAL_FAILURE(Begin());
  CrashEverywhere(
      Stage::kReply, [this] { KillHost(); }, [this] { RestartHost(); }, [] {});
}

}  // namespace
}  // namespace gantry::itest
