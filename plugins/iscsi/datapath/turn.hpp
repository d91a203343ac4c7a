// SPDX-License-Identifier: Apache-2.0
// See IscsiDataPath::Turn.
#pragma once

#include "plugins/iscsi/datapath/data_path.hpp"

namespace gantry::iscsi {

class IscsiDataPath::Turn {
 public:
  // `sends`: what is to be sent goes out at its end; else with what comes in the same turn of the loop.
  explicit Turn(IscsiDataPath& path, bool sends = true) : path_(path) {
    ++path_.depth_;
    path_.send_soon_ = path_.send_soon_ || !sends;
  }
  Turn(const Turn&) = delete;
  ~Turn() {
    if (path_.depth_ == 1) path_.Settle();
    --path_.depth_;
  }

 private:
  IscsiDataPath& path_;
};

}  // namespace gantry::iscsi
