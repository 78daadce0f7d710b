package v4

// Envelope is what every answer of the API is wrapped in.
type Envelope[T any] struct {
	// Result is null when the request failed, and after some deletes.
	Result  T    `json:"result"`
	Success bool `json:"success"`
	// Errors is never null; it is empty when Success is true.
	Errors []Message `json:"errors"`
	// Messages are remarks on a request that succeeded; never null.
	Messages []Message `json:"messages"`
	// ResultInfo accompanies lists.
	ResultInfo *ResultInfo `json:"result_info,omitempty"`
}

// Message is an error or a remark: a stable number for programs and a sentence for people.
type Message struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// ResultInfo says which part of a list an answer holds.
type ResultInfo struct {
	// Page counts from 1.
	Page    int `json:"page"`
	PerPage int `json:"per_page"`
	// Count is the number of items in this answer, TotalCount in the whole list.
	Count      int `json:"count"`
	TotalCount int `json:"total_count"`
	TotalPages int `json:"total_pages"`
	// Cursor is the query parameter that reads on behind this answer; absent at the end. Only audit records have it.
	Cursor string `json:"cursor,omitempty"`
}

// Deleted answers the deletion of a thing that has nothing else to show.
type Deleted struct {
	ID string `json:"id"`
}
