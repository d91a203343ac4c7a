// SPDX-License-Identifier: Apache-2.0
// tgtd's management protocol: what tgtadm sends over the daemon's Unix socket (root's alone; tgtd
// looks at SO_PEERCRED). Spoken directly, because tgtadm takes CHAP passwords as words of its
// command line, where every user of the machine can read them, and a program for each step costs ten
// times the step. The layout is that of tgt 1.0.85 (usr/tgtadm.h), checked against a real daemon by
// the tests.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "plugins/common/result.hpp"

namespace gantry::iscsi::target {

enum class TgtMode : uint32_t {
  kSystem,
  kTarget,
  kUnit,
  kPortal,
  kDriver,
  kSession,
  kConnection,
  kAccount
};
enum class TgtOperation : uint32_t { kNew, kDelete, kShow, kBind, kUnbind, kUpdate };

// What the daemon answers (usr/tgtadm_error.h).
enum class TgtError : uint32_t {
  kNone = 0,
  kNoTarget = 4,
  kNoUnit = 5,
  kNoSession = 6,
  kNoConnection = 7,
  kNoBinding = 8,
  kTargetExists = 9,
  kBindingExists = 10,
  kUnitExists = 11,
  kAclExists = 12,
  kNoAcl = 13,
  kUserExists = 14,
  kNoUser = 15,
  kInvalidRequest = 17,
  kOutgoingExists = 18,
  kTargetActive = 19,
  kUnitActive = 20,
};

struct TgtRequest {
  TgtOperation operation = TgtOperation::kShow;
  TgtMode mode = TgtMode::kTarget;
  int32_t tid = -1;
  uint64_t sid = 0;
  uint64_t lun = UINT64_MAX;
  uint32_t cid = 0;
  uint32_t account_direction = 0;  // 1: outgoing
  bool force = false;
  std::string words = {};  // "targetname=iqn..."; wiped by the caller when it holds a password
};

struct TgtReply {
  TgtError error = TgtError::kNone;
  std::string text;  // of kShow
};

// One request, one connection, as the daemon wants it. UNAVAILABLE: it does not answer.
// DEADLINE_EXCEEDED. INTERNAL: what answers is no tgtd that this knows.
plugin::Result<TgtReply> AskTgt(const std::string& socket, const TgtRequest& request,
                                std::chrono::steady_clock::time_point deadline);
// For messages; "error 99" for others than those above.
std::string TextOf(TgtError error);

}  // namespace gantry::iscsi::target
