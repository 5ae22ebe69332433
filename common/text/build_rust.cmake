# Builds the Rust archive and copies it: cmake -DCARGO= -DCRATE= -DTARGET_DIR= -DOUTPUT= -P this.
# Several build folders share TARGET_DIR; the lock makes one wait for the other, so that none copies
# an archive which another is writing.
file(MAKE_DIRECTORY "${TARGET_DIR}")
file(LOCK "${TARGET_DIR}" DIRECTORY GUARD PROCESS TIMEOUT 1800)
execute_process(
  COMMAND "${CMAKE_COMMAND}" -E env "CARGO_TARGET_DIR=${TARGET_DIR}"
          "${CARGO}" build --release --locked --quiet
  WORKING_DIRECTORY "${CRATE}"
  RESULT_VARIABLE _result)
if(NOT _result EQUAL 0)
  message(FATAL_ERROR "cargo could not build ${CRATE} (see above)")
endif()
file(COPY_FILE "${TARGET_DIR}/release/libcohort_text.a" "${OUTPUT}.tmp")
file(RENAME "${OUTPUT}.tmp" "${OUTPUT}")
