// SPDX-License-Identifier: Apache-2.0

// A backend with a Go runtime inside: its scheduler's threads, its collector and its signal handlers
// in a process that is not its own.
package main

/*
#include <stdlib.h>
#include <gantry/gantry.h>
void zoo_finish(gantry_call call, gantry_code code);
void zoo_emit(gantry_call call, const char* handle, size_t length);
*/
import "C"

import (
	"runtime"
	"unsafe"
)

//export zooCreateVolume
func zooCreateVolume(call C.gantry_call, name *C.char, length C.int) {
	text := C.GoStringN(name, length)
	made := make(chan string)
	// Goroutines on other threads, and garbage for the collector.
	for i := 0; i < 8; i++ {
		go func() {
			waste := make([]byte, 1<<16)
			waste[0] = 1
			made <- "go-" + text
		}()
	}
	handle := ""
	for i := 0; i < 8; i++ {
		handle = <-made
	}
	runtime.GC()
	copied := C.CString(handle)
	C.zoo_emit(call, copied, C.size_t(len(handle)))
	C.free(unsafe.Pointer(copied))
	C.zoo_finish(call, C.GANTRY_OK)
}

func main() {}
