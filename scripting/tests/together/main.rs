//! Calls through the run loop on a channel of their own: what the applications, functions and scripts of a dialplan do, a
//! file for each subject. One program for all of them: linking the scripting engine once takes less than many times.

mod agi;
mod applications;
mod data_functions;
mod device_states;
mod eagi;
mod exchange;
mod listening;
mod local_channels;
mod lua_files;
mod media_of_calls;
mod messages;
mod other_calls;
mod queue_options;
mod queues;
mod rehearsal;
mod rows;
mod run_loop;
mod same_steps;
mod scripts;
mod side_paths;
mod small_applications;
mod transfers;
mod vectors;
mod voicemail;
