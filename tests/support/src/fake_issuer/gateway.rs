//! The backend that answers model requests, as strict as the real one is reported to be, and a gateway that speaks
//! Anthropic's Messages API. It is not confirmed that the real backend refuses all of this.

use serde_json::{Value, json};

use super::State;
use super::endpoints::{Served, bearer, caller, check_routing, ensure};
use super::wire::{Answer, Request};

/// The model's reply.
const GREETING: &str = "Hello from the backend";

/// The shortest response of the Responses API that every program accepts as complete. A request that offers the tool
/// `look_up` and has no result of it yet is answered with a call of that tool.
pub(super) fn responses(state: &mut State, request: &Request) -> Served {
    check_routing(state, request)?;
    caller(state, request)?;
    let body = request.json();
    if let Some(complaint) = complaint(&body) {
        return Ok(Answer::json(400, &json!({ "detail": complaint })));
    }
    let items = body["input"].as_array().into_iter().flatten();
    let has_result = items
        .clone()
        .any(|item| item["type"] == "function_call_output");
    let tools = body["tools"].as_array().into_iter().flatten();
    if !has_result && tools.clone().any(|tool| tool["name"] == "look_up") {
        return Ok(tool_call());
    }
    Ok(greeting())
}

/// What the backend is reported to refuse in a request. Codex 0.171 sends its instructions in a developer message.
fn complaint(body: &Value) -> Option<&'static str> {
    let items = body["input"].as_array();
    let has_role =
        |role: &str| items.is_some_and(|items| items.iter().any(|item| item["role"] == role));
    let has_instructions = body["instructions"].is_string() || has_role("developer");
    let complaints = [
        (items.is_none(), "Input must be a list"),
        (has_role("system"), "System messages are not allowed"),
        (!has_instructions, "Instructions are required"),
        (body["store"] != false, "Store must be set to false"),
        (body["stream"] != true, "Stream must be set to true"),
        (
            !body["max_output_tokens"].is_null(),
            "Unsupported parameter: max_output_tokens",
        ),
    ];
    let found = complaints.into_iter().find(|(is_wrong, _)| *is_wrong);
    found.map(|(_, what)| what)
}

/// The events around the items of a response.
fn answer(mut events: Vec<Value>, item: &Value) -> Answer {
    let begun = json!({ "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [],
        "parallel_tool_calls": true, "tool_choice": "auto", "tools": [], "status": "in_progress" });
    let mut whole = begun.clone();
    whole["status"] = json!("completed");
    whole["output"] = json!([item]);
    whole["usage"] = json!({ "input_tokens": 1, "output_tokens": 1, "total_tokens": 2,
        "input_tokens_details": { "cached_tokens": 0 }, "output_tokens_details": { "reasoning_tokens": 0 } });
    events.insert(0, json!({ "type": "response.created", "response": begun }));
    events.push(json!({ "type": "response.output_item.done", "output_index": 0, "item": item }));
    events.push(json!({ "type": "response.completed", "response": whole }));
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    Answer::events(&events)
}

fn greeting() -> Answer {
    let part = |text: &str| json!({ "type": "output_text", "text": text, "annotations": [] });
    let item = |status: &str, content: Value| json!({ "type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": content });
    let events = vec![
        json!({ "type": "response.output_item.added", "output_index": 0, "item": item("in_progress", json!([])) }),
        json!({ "type": "response.content_part.added", "item_id": "msg_1", "output_index": 0, "content_index": 0,
            "part": part("") }),
        json!({ "type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0,
            "content_index": 0, "delta": GREETING, "logprobs": [] }),
        json!({ "type": "response.output_text.done", "item_id": "msg_1", "output_index": 0,
            "content_index": 0, "text": GREETING, "logprobs": [] }),
        json!({ "type": "response.content_part.done", "item_id": "msg_1", "output_index": 0, "content_index": 0,
            "part": part(GREETING) }),
    ];
    answer(events, &item("completed", json!([part(GREETING)])))
}

fn tool_call() -> Answer {
    let arguments = "{\"word\":\"hello\"}";
    let item = |arguments: &str| {
        json!({ "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look_up",
            "arguments": arguments, "status": "completed" })
    };
    let events = vec![
        json!({ "type": "response.output_item.added", "output_index": 0, "item": item("") }),
        json!({ "type": "response.function_call_arguments.delta", "item_id": "fc_1", "output_index": 0,
            "delta": arguments }),
        json!({ "type": "response.function_call_arguments.done", "item_id": "fc_1", "output_index": 0,
            "name": "look_up", "arguments": arguments }),
    ];
    answer(events, &item(arguments))
}

/// The shortest response of Anthropic's Messages API. This gateway checks the token and the account.
pub(super) fn messages(state: &mut State, request: &Request) -> Served {
    let token = bearer(request);
    if token.is_none_or(|token| state.books.holder(token, state.clock()).is_none()) {
        let error = json!({ "type": "authentication_error", "message": "invalid token" });
        let body = json!({ "type": "error", "error": error });
        return Ok(Answer::json(401, &body));
    }
    ensure(
        request.header("anthropic-version").is_some(),
        "anthropic-version is missing",
    )?;
    ensure(request.json()["stream"] == true, "stream is not true")?;
    let message = json!({ "type": "message", "id": "msg_1", "role": "assistant", "model": "m", "content": [],
        "usage": { "input_tokens": 1, "output_tokens": 1 } });
    Ok(Answer::events(&[
        json!({ "type": "message_start", "message": message }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 0,
            "delta": { "type": "text_delta", "text": GREETING } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" },
            "usage": { "output_tokens": 1 } }),
        json!({ "type": "message_stop" }),
    ]))
}
