// SPDX-License-Identifier: Apache-2.0
// A swap as it goes on: a line a step, and what came of it.
#pragma once

#include <string>

#include "host/ctl/session.hpp"

namespace gantry::ctl {

class Progress {
 public:
  explicit Progress(Session& session, std::string prefix = {})
      : session_(session), prefix_(std::move(prefix)) {}

  void Show(const admin::SwapEvent& event);
  // The exit code, given that of the call: a swap that was rolled back has failed.
  int Conclude(int code) const { return code == kDone && is_rolled_back_ ? kFailed : code; }

 private:
  Session& session_;
  const std::string prefix_;
  bool is_rolled_back_ = false;
};

}  // namespace gantry::ctl
